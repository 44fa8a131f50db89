"""The template of a method outside the package, used as its README says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import DONE, TINY, stages_in
from facts import assert_names

ROOT = Path(__file__).parents[2]
COMMAND = ("--config-dir", "my_conf", "experiment=cam", "method=max_pooled_cam", *TINY)

pytestmark = pytest.mark.slow


@pytest.fixture
def template(tmp_path):
    return Path(shutil.copytree(ROOT / "experiments/own_method", tmp_path / "mine"))


def run(folder: Path, *arguments: str, module: str = "wsss_lightning", **environment: str):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_code_of_another_package_must_be_allowed_by_name(template):
    refused = run(template, *COMMAND)
    assert refused.returncode == 1
    assert_names(refused.stderr, "my_methods.max_pooled_cam.MaxPooledCam", "WSSS_ALLOW=my_methods")


def test_a_method_outside_the_package_runs_and_is_cached_by_its_code(template):
    arguments = (*COMMAND, "pipeline=seeds", "refine=none")
    first = run(template, *arguments, WSSS_ALLOW="my_methods")
    assert first.returncode == 0, first.stderr
    (results,) = template.glob("runs/*/results.json")
    assert "seeds/val/miou" in json.loads(results.read_text())["scores"]
    code = template / "my_methods/max_pooled_cam.py"
    code.write_text(code.read_text().replace("A classifier whose", "Another docstring: its"))
    again = run(template, *arguments, WSSS_ALLOW="my_methods")
    assert not stages_in(again.stdout, DONE)
    code.write_text(code.read_text().replace(".amax((-2, -1))", ".amax((-2, -1)) * 0.5"))
    changed = run(template, *arguments, WSSS_ALLOW="my_methods")
    assert {"classifier", "seeds/train"} <= set(stages_in(changed.stdout, DONE))


USE = """
import sys

import numpy as np

import wsss_lightning as wsss
from wsss_lightning.export.exporter import export
from wsss_lightning.export.settings import ExportSettings

run = wsss.run(
    "cam", overrides=["method=max_pooled_cam", *sys.argv[1:]], config_dir="my_conf"
)
photo = np.zeros((48, 64, 3), np.uint8)
classifier = wsss.load(run.folder, "classifier")
print(type(classifier.module).__name__, classifier.cams(photo, tags=["cat"])["cat"].shape)
(prediction,) = wsss.Predictor(run.folder)(photo)
print(prediction.mask.shape)
export(classifier, "own.onnx", ExportSettings())
"""


@pytest.mark.long
def test_a_method_outside_the_package_is_used_from_python(template):
    (template / "use.py").write_text(USE)
    used = run(template, *TINY, module="use", WSSS_ALLOW="my_methods")
    assert used.returncode == 0, used.stderr
    assert used.stdout.splitlines()[-2:] == ["MaxPooledCam (48, 64)", "(48, 64)"]
    assert (template / "own.onnx").is_file()  # it was compared with PyTorch before it was left
    model = next(template.glob("runs/*/models/classifier/model.safetensors"))
    load = f"import wsss_lightning as w; w.load({str(model)!r})"
    (template / "refused.py").write_text(load)
    refused = run(template, module="refused")
    assert_names(refused.stderr, "InputError", "my_methods", "WSSS_ALLOW=my_methods")


def test_the_template_keeps_the_contract_of_methods(template):
    checked = run(template, "-q", "-p", "no:cacheprovider", module="pytest")
    assert checked.returncode == 0, checked.stdout
