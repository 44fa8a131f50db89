"""Versions of the software that made the results of a run."""

import platform
from importlib import metadata

from wsss_lightning.cache.code_digest import package_digest

PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "torchmetrics",
    "timm",
    "segmentation-models-pytorch",
    "pydensecrf2",
    "opencv-python-headless",
    "numpy",
    "wsss-lightning",
)


def versions() -> dict[str, str]:
    """Versions of Python, of this package's code, and of installed packages that matter."""
    installed = {"python": platform.python_version(), "code": package_digest()}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed
