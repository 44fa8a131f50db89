"""`wsss-lightning export`."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from facts import assert_names, raises_naming
from small_models import info_of, module_of

from wsss_lightning.cli.export import main
from wsss_lightning.errors import InputError
from wsss_lightning.predict.model_file import load, save_model


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A folder with the models of a run, below the present folder."""
    monkeypatch.chdir(tmp_path)
    for task, name in (("segmentation", "segmentation"), ("classification", "classifier")):
        save_model(tmp_path / "runs/cam/models" / name, module_of(task), info_of(task))
    return tmp_path / "runs/cam"


def test_a_file_is_written_to_the_present_folder_and_described(run_folder, tmp_path, capsys):
    words = ["--fixed-size", "--size", "64", "70", "--opset", "20", "--preprocessing", "inside"]
    main(["runs/cam", *words, "--output", "mask", "--benchmark"])
    printed = capsys.readouterr().out
    assert_names(printed, "cam_segmentation.onnx", "opset 20", "1 x 64 x 70", "uint8, 0..255")
    assert_names(printed, "onnxruntime", "torch", "times as fast", "threads", near=400)
    path = tmp_path / "cam_segmentation.onnx"
    assert onnx.load(path).opset_import[0].version == 20
    levels = torch.randint(0, 256, (1, 64, 70, 3), dtype=torch.uint8)
    (mask,) = onnxruntime.InferenceSession(path).run(None, {"image": levels.numpy()})
    with torch.no_grad():
        expected = load(run_folder)(levels.permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    assert mask.dtype == np.uint8
    assert (mask == expected).mean() > 0.999


@pytest.mark.parametrize(
    "model",
    ["runs/cam", "runs/cam/models/classifier", "runs/cam/models/classifier/model.safetensors"],
)
def test_the_suffix_chooses_the_format_and_the_network_is_named(run_folder, tmp_path, model):
    network = ["--network", "classifier"] if model == "runs/cam" else []
    main([model, *network, "--out", "copy.safetensors"])
    assert load(tmp_path / "copy.safetensors").info.task == "classification"
    main([model, *network, "--format", "safetensors"])
    assert (tmp_path / "cam_classifier.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["--out", "cam.onx"], ["--out", "cam.onx", ".onnx", ".pt2"]),
        (["--out", "a.onnx", "--format", "torch-export"], ["--format", "torch-export", "a.onnx"]),
        (["--format", "torchscript"], ["torchscript", "deprecated", "torch-export"]),
        (["--out", "runs/cam/models/segmentation/model.safetensors"], ["--out", "itself"]),
        (["--samples", "absent.jpg"], ["absent.jpg"]),
        (["--network", "classifer"], ["classifer", "classifier"]),
    ],
)
def test_arguments_that_cannot_be_used_are_named(run_folder, words, facts):
    with raises_naming(InputError, *facts):
        main(["runs/cam/models/segmentation/model.safetensors", *words])
