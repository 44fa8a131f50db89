"""The command line, and a trained model for the page that uses one."""

import pytest
from command_line import generated_data_cache, here  # noqa: F401
from pictures import picture
from small_models import info_of, module_of

from wsss_lightning.predict.model_file import save_model


@pytest.fixture(autouse=True)
def trained_model(request, tmp_path):
    """The models and photos that docs/predict.md uses, below the folder where it runs."""
    page = getattr(request.node, "callspec", None) and request.node.callspec.params.get("page")
    if page is not None and page.name == "predict.md":
        for network, task in (("segmentation", "segmentation"), ("classifier", "classification")):
            folder = tmp_path / "runs/cam/models" / network
            save_model(folder, module_of(task), info_of(task))
        (tmp_path / "photos").mkdir()
        picture(60, 80).save(tmp_path / "photos/a photo.png")
