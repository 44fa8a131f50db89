import pytest
from hydra import compose, initialize_config_dir

from wsss_lightning.config.folder import conf_folder
from wsss_lightning.pipelines.base import refiner_steps
from wsss_lightning.steps.labels import StepInfo, declare_steps, step_info, step_label


def declared(*overrides):
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return refiner_steps(compose("config", ["experiment=cam", *overrides]))


@pytest.mark.parametrize(
    ("refine", "labels"),
    [
        ("none", {"none": "seeds without refinement"}),
        ("crf", {"crf": "CRF"}),
        ("affinity", {"affinity": "affinity", "affinity_crf": "affinity + CRF"}),
        ("irn", {"irn": "IRN", "irn_crf": "IRN + CRF"}),
    ],
)
def test_a_refiner_declares_the_labels_of_its_steps(refine, labels):
    steps = declared(f"refine={refine}")
    assert {name: info.label for name, info in steps.items()} == labels
    orders = [info.order for info in steps.values()]
    assert step_info("seeds").order < orders[0]
    assert orders == sorted(orders)
    assert orders[-1] < step_info("pseudo").order


def test_a_walk_without_a_final_crf_is_one_step():
    assert list(declared("refine=irn", "refine.crf=null")) == ["irn"]


def test_a_pipeline_without_seeds_has_no_refiner():
    assert declared("experiment=full_supervision") == {}


def test_declared_steps_have_their_label_after_a_round():
    declare_steps({"walk": StepInfo("random walk", 40)})
    assert step_label("round_2/walk") == "round 2, random walk"
    assert step_info("round_2/walk").order == 40


def test_the_label_of_an_undeclared_refiner_is_its_key():
    assert step_label("my_refiner") == "my refiner"
    assert step_info("seeds").order < step_info("my_refiner").order < step_info("pseudo").order
