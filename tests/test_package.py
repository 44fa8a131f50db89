"""The wheel: what a user gets who has no checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from wsss_lightning.cli.options import options as option_names
from wsss_lightning.config.folder import conf_folder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


def python(*words: str, cwd: Path, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built without the network: hatchling is one of our tools."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder))
    python("-m", "pip", "wheel", *options, str(ROOT), cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_its_configuration_and_its_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for path in conf_folder().rglob("*.yaml"):
        assert f"wsss_lightning/conf/{path.relative_to(conf_folder()).as_posix()}" in names
    assert {"wsss_lightning/cli/run.py", "wsss_lightning/py.typed"} <= names
    assert "wsss_lightning/densecrf/mean_field.cpp" in names  # compiled on the user's machine
    for page in ("index.html", "style.css", "app.js"):
        assert f"wsss_lightning/review/page/{page}" in names
    assert any(name.endswith("/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"wsss_lightning"}


def test_the_installed_wheel_composes_and_helps_from_another_folder(wheel, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    options = ("--quiet", "--no-deps", "--no-index", "--target", str(site))
    python("-m", "pip", "install", *options, str(wheel), cwd=elsewhere)
    run = ("-m", "wsss_lightning")
    where = python(
        "-c", "import wsss_lightning as w; print(w.__file__)", cwd=elsewhere, PYTHONPATH=str(site)
    )
    assert where.startswith(str(site))
    told = python(*run, "--help", cwd=elsewhere, PYTHONPATH=str(site))
    for name in option_names("experiment"):
        assert f" {name} " in told
    told = python(*run, "experiment=cam", "--cfg", "job", cwd=elsewhere, PYTHONPATH=str(site))
    assert "name: cam" in told
