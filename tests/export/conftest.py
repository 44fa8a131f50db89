"""Small models of both kinds, and what their exports are."""

from pathlib import Path

import jaxtyping
import pytest
from small_models import info_of, module_of

from wsss_lightning.export.exporter import export
from wsss_lightning.export.settings import ExportSettings
from wsss_lightning.predict.trained_model import TrainedModel


@pytest.fixture(autouse=True)
def _sizes_may_be_symbols(monkeypatch):
    """Let traced functions get symbols for sizes, which jaxtyping takes for a wrong type."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def small_model():
    """`small_model(task)`: a model with random weights, always the same."""
    made: dict[str, TrainedModel] = {}

    def call(task: str = "segmentation") -> TrainedModel:
        if task not in made:
            made[task] = TrainedModel(module_of(task), info_of(task)).eval()
        return made[task]

    return call


@pytest.fixture(scope="session")
def onnx_file(small_model, tmp_path_factory) -> Path:
    """Logits of the small segmentation network."""
    path = tmp_path_factory.mktemp("onnx") / "small network.onnx"
    export(small_model(), path, ExportSettings(size=(64, 96)))
    return path
