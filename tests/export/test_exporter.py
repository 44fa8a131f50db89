"""Exported files compute what the trained network does, in programs without this package."""

import json
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from facts import assert_names, raises_naming
from small_models import info_of, module_of

from wsss_lightning.errors import InputError
from wsss_lightning.export import exporter, files, program
from wsss_lightning.export.exporter import export
from wsss_lightning.export.settings import ExportSettings
from wsss_lightning.predict.model_file import load
from wsss_lightning.predict.model_info import from_json
from wsss_lightning.predict.trained_model import TrainedModel

SMALL = (64, 96)


def session_of(path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 96, 128), (2, 101, 333), (1, 500, 70)])
def test_an_onnx_file_takes_any_number_of_images_of_any_size(onnx_file, small_model, shape):
    count, height, width = shape
    image = torch.rand(count, 3, height, width)
    with torch.no_grad():
        expected = small_model()(image)
    (logits,) = session_of(onnx_file).run(None, {"image": image.numpy()})
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_an_onnx_file_describes_itself(onnx_file):
    session = session_of(onnx_file)
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type) == ("image", "tensor(float)")
    assert given.shape == ["batch", 3, "height", "width"]
    assert (made.name, made.shape) == ("logits", ["batch", 3, "height", "width"])
    metadata = {
        key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()
    }
    info = info_of("segmentation")
    assert metadata["labels"] == ["background", "cat", "dog"]
    assert metadata["colours"] == info.colours
    assert (metadata["mean"], metadata["std"]) == (info.mean, info.std)
    assert metadata["input"]["range"] == [0, 1]
    assert metadata["input"]["sides"] == {"least": 64}
    assert from_json(json.dumps(metadata["model"]), onnx_file) == info
    assert onnx.load(onnx_file).opset_import[0].version == 18


def test_preprocessing_inside_takes_decoded_images(small_model, tmp_path):
    outputs = ["mask", "probabilities"]
    settings = ExportSettings(
        "torch-export", outputs, preprocessing="inside", size=(64, 64), fixed_size=True
    )
    path = export(small_model(), tmp_path / "a.pt2", settings).path
    levels = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = small_model()(levels.permute(0, 3, 1, 2) / 255).softmax(1)
    mask, probabilities = torch.export.load(path).module()(levels)
    torch.testing.assert_close(probabilities, expected)
    assert torch.equal(mask, probabilities.argmax(1).to(torch.uint8))


def test_a_fixed_size_is_the_only_one(small_model, tmp_path):
    settings = ExportSettings("torch-export", size=(70, 90), fixed_size=True)
    exported = export(small_model(), tmp_path / "a.pt2", settings)
    assert [one.shape for one in exported.agreements] == [(1, 70, 90)]
    network = torch.export.load(exported.path).module()
    assert network(torch.rand(1, 3, 70, 90))[0].shape == (1, 3, 70, 90)
    with pytest.raises(Exception, match=r"shape|size|Guard"):
        network(torch.rand(1, 3, 71, 90))


@pytest.fixture(scope="module")
def program_file(small_model, tmp_path_factory):
    """Probabilities and CAMs of the small classifier."""
    path = tmp_path_factory.mktemp("program") / "a.pt2"
    settings = ExportSettings("torch-export", size=SMALL)
    return export(small_model("classification"), path, settings).path


def test_a_classifier_gives_probabilities_and_cams(small_model, program_file):
    model, image = small_model("classification"), torch.rand(2, 3, 128, 75)
    stored = {files.METADATA_FILE: ""}
    probabilities, cams = torch.export.load(program_file, extra_files=stored).module()(image)
    with torch.no_grad():
        torch.testing.assert_close(probabilities, model(image).sigmoid())
        torch.testing.assert_close(cams, model.module.cam(image))
    assert json.loads(stored[files.METADATA_FILE])["labels"] == ["cat", "dog"]


def test_an_exported_program_runs_without_this_package(program_file):
    code = (
        "import sys, torch\n"
        "result = torch.export.load('a.pt2').module()(torch.rand(1, 3, 65, 96))\n"
        "assert [tuple(one.shape) for one in result] == [(1, 2), (1, 2, 5, 6)]\n"
        "ours = {'wsss_lightning', 'timm', 'segmentation_models_pytorch'}\n"
        "assert not ours & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=program_file.parent, check=True)


def test_the_safetensors_file_is_a_portable_model(small_model, tmp_path):
    exported = export(small_model(), tmp_path / "a.safetensors", ExportSettings("safetensors"))
    image = torch.rand(1, 3, 70, 80)
    with torch.no_grad():
        assert torch.equal(load(exported.path)(image), small_model()(image))
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_model_is_not_changed_by_its_export(small_model, onnx_file):
    model = small_model()
    assert all(part.requires_grad for part in model.parameters())
    assert not model.training


def test_a_network_that_differs_is_refused_and_the_former_file_is_kept(
    small_model, tmp_path, monkeypatch
):
    path = tmp_path / "a.pt2"
    path.write_bytes(b"former")

    def wrong(network, size):
        other = exporter.ExportNetwork(small_model(), network.outputs, network.uint8_input)
        with torch.no_grad():
            other.module.net.net.segmentation_head[0].bias += torch.tensor([0.01, 0.0, 0.0])
        return program.export_program(other, size)

    monkeypatch.setattr(files, "export_program", wrong)
    settings = ExportSettings("torch-export", size=SMALL, fixed_size=True)
    with raises_naming(InputError, "logits", 0.01, 0.0001, "nothing was written"):
        export(small_model(), path, settings)
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_network_that_is_right_for_the_traced_size_only_is_refused(tmp_path, monkeypatch):
    from test_architectures import segmenter

    monkeypatch.setattr(program, "exportable_operations", nullcontext)
    model = TrainedModel(segmenter("pspnet"), info_of("segmentation")).eval()
    with pytest.raises(InputError, match=r"fails for|differs|cannot trace"):
        export(model, tmp_path / "a.onnx", ExportSettings(size=SMALL))
    assert list(tmp_path.iterdir()) == []


def test_networks_with_infinite_outputs_are_refused(tmp_path):
    module = module_of("segmentation")
    with torch.no_grad():
        module.net.net.segmentation_head[0].bias += float("inf")
    model = TrainedModel(module, info_of("segmentation")).eval()
    with raises_naming(InputError, "not finite", "64 x 96"):
        export(model, tmp_path / "a.safetensors", ExportSettings("safetensors", size=SMALL))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_installation(small_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with raises_naming(InputError, "onnxruntime", "pip install 'wsss-lightning[export]'"):
        export(small_model(), tmp_path / "a.onnx")


def test_an_old_torch_is_named_with_the_needed_version(small_model, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.export, "export", lambda mod, args: None)
    with raises_naming(InputError, "torch", program.OLDEST_TORCH, torch.__version__):
        export(small_model(), tmp_path / "a.pt2", ExportSettings("torch-export"))


@pytest.mark.parametrize(
    ("name", "settings", "facts"),
    [
        ("a.pt2", ExportSettings(), ["a.pt2", ".onnx", "onnx"]),
        ("absent/a.onnx", ExportSettings(), ["absent", "folder"]),
        ("a.onnx", ExportSettings(outputs=["cams"]), ["cams", "segmentation", "mask"]),
        ("a.onnx", ExportSettings(outputs=["mask", "mask"]), ["mask", "once"]),
        ("a.onnx", ExportSettings(opset=999), ["opset", 999]),
    ],
)
def test_what_cannot_be_exported_is_named(small_model, tmp_path, name, settings, facts):
    with raises_naming(InputError, *facts):
        export(small_model(), tmp_path / name, settings)


def test_the_speed_is_compared_with_that_of_pytorch(small_model, tmp_path):
    exported = export(
        small_model(), tmp_path / "a.safetensors", ExportSettings("safetensors"), measure=True
    )
    speed = exported.benchmark
    assert speed.ratio == pytest.approx(speed.eager / speed.exported)
    assert 0.2 < speed.ratio < 5  # both are PyTorch's
    assert_names(str(exported), "a.safetensors", "benchmark", "1 x 192 x 256")
