"""CAMs of all classes, predicted and stored."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from facts import raises_naming

from wsss_lightning.data.scores import load_cam, save_cam
from wsss_lightning.errors import InputError
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.methods.class_cams import ClassCams
from wsss_lightning.training.callbacks.cam_writer import CamWriter


class Method(TagMethod):
    """Two classes: the red and the negated green channel at every 4th pixel."""

    def __init__(self):
        super().__init__(lambda num_classes: torch.nn.Identity(), 2, torch.optim.SGD, 1, 1)

    def forward(self, image):
        return self.cam(image).mean((-2, -1))

    def cam(self, image):
        return torch.stack([image[:, 0], -image[:, 1]], dim=1)[..., ::4, ::4]


def test_maps_of_all_classes_are_stored_with_their_sign(tmp_path):
    image = torch.rand(2, 3, 33, 49)
    settings = CamSettings(scales=(0.5, 1.0), stride=4)
    predictor = ClassCams(Method(), settings)
    outputs = predictor.predict_step({"image": image, "name": ["a", "folder/b"]}, 0)
    CamWriter(tmp_path).on_predict_batch_end(pl.Trainer(logger=False), predictor, outputs, None, 0)
    # the largest scale is the size of the image
    expected = Method().cam(image).numpy()
    for name, maps in zip(["a", "folder/b"], expected, strict=True):
        stored = load_cam(tmp_path / f"{name}.npz")
        assert stored == pytest.approx(maps, abs=1e-3)
        assert stored[1].max() < 0.01


def test_values_beyond_half_precision_are_clipped(tmp_path):
    cam = np.array([[[1e6, -1e6, 3.0]]], np.float32)
    save_cam(tmp_path / "x.npz", cam)
    assert load_cam(tmp_path / "x.npz").tolist() == [[[65504.0, -65504.0, 3.0]]]


def test_maps_that_are_not_finite_are_refused(tmp_path):
    save_cam(tmp_path / "x.npz", np.full((1, 2, 2), np.nan, np.float32))
    with raises_naming(InputError, tmp_path / "x.npz"):
        load_cam(tmp_path / "x.npz")


def test_a_missing_file_is_named(tmp_path):
    with raises_naming(InputError, tmp_path / "x.npz"):
        load_cam(tmp_path / "x.npz")
