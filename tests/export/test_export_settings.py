import pytest
from facts import raises_naming

from wsss_lightning.errors import InputError
from wsss_lightning.export.settings import ExportSettings


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        ({"format": "onxx"}, ["format", "onxx", "onnx"]),
        ({"format": "torchscript"}, ["torchscript", "deprecated", "torch-export"]),
        ({"preprocessing": "outside"}, ["preprocessing", "outside", "inside"]),
        ({"opset": 11}, ["opset", 11, 18]),
        ({"format": "torch-export", "opset": 20}, ["opset", "torch-export"]),
        ({"size": (63, 100)}, ["size", "63 x 100", 64]),
        ({"format": "safetensors", "fixed_size": True}, ["fixed_size", "safetensors"]),
        ({"format": "safetensors", "outputs": ["mask"]}, ["outputs", "safetensors"]),
        ({"format": "safetensors", "preprocessing": "inside"}, ["preprocessing", "safetensors"]),
    ],
)
def test_settings_out_of_range_are_named(given, facts):
    with raises_naming(InputError, *facts):
        ExportSettings(**given)


@pytest.mark.parametrize(
    ("task", "given", "expected"),
    [
        ("segmentation", None, ("logits",)),
        ("classification", None, ("probabilities", "cams")),
        ("segmentation", ["mask", "logits"], ("mask", "logits")),
    ],
)
def test_outputs_depend_on_the_task(task, given, expected):
    assert ExportSettings(outputs=given).outputs_of(task) == expected
