"""Weakly supervised semantic segmentation from image-level labels or boxes, on Lightning.

    import wsss_lightning as wsss

    run = wsss.run("cam")  # train and evaluate
    predict = wsss.Predictor(run.folder)  # masks of new photos
    rows = wsss.results("runs")  # scores of all runs

Importing the package is quick: PyTorch is imported by the first function that needs it.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

# the package of this name, before the function of this name replaces it as an attribute
import wsss_lightning.results  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsss_lightning.api import run, sweep
    from wsss_lightning.densecrf.api import mean_field
    from wsss_lightning.densecrf.parameters import CRFParameters
    from wsss_lightning.errors import InputError
    from wsss_lightning.predict.model_file import TrainedModel, load
    from wsss_lightning.predict.predictor import Prediction, Predictor
    from wsss_lightning.report.runs import RunResult

    __version__: str

__all__ = [
    "CRFParameters",
    "InputError",
    "Prediction",
    "Predictor",
    "RunResult",
    "TrainedModel",
    "__version__",
    "load",
    "mean_field",
    "results",
    "run",
    "sweep",
]

_MODULES = {
    "CRFParameters": "wsss_lightning.densecrf.parameters",
    "InputError": "wsss_lightning.errors",
    "Prediction": "wsss_lightning.predict.predictor",
    "Predictor": "wsss_lightning.predict.predictor",
    "RunResult": "wsss_lightning.report.runs",
    "TrainedModel": "wsss_lightning.predict.model_file",
    "load": "wsss_lightning.predict.model_file",
    "mean_field": "wsss_lightning.densecrf.api",
    "run": "wsss_lightning.api",
    "sweep": "wsss_lightning.api",
}


def results(path: "str | Path | Iterable[str | Path]") -> list[dict[str, Any]]:
    """Scores of finished runs as a tidy table: `wsss_lightning.api.results`."""
    from wsss_lightning.api import results as table

    return table(path)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("wsss-lightning")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
