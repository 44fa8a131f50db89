"""Portable models: what is saved is loaded, and nothing else."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from example_results import example_results
from facts import assert_names, raises_naming
from omegaconf import OmegaConf
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_models import info_of, module_of, node_of

from wsss_lightning.errors import InputError
from wsss_lightning.predict.model_file import MODEL, TrainedModel, load, save_model, save_models
from wsss_lightning.predict.model_info import METADATA
from wsss_lightning.predict.run_models import (
    open_run,
    provenance_of,
    trainings,
    without_folders,
)
from wsss_lightning.results.schema import ReviewCounts, read_results
from wsss_lightning.steps.train import load as load_stage

TASKS = ("segmentation", "classification")


@pytest.fixture
def saved(tmp_path):
    """`saved(task)`: a module and the portable model that was written of it."""

    def call(task: str = "segmentation", **changes):
        module = module_of(task)
        return module, save_model(tmp_path / "model", module, info_of(task, **changes))

    return call


def with_description(path: Path, **changes) -> Path:
    """The file with other fields in its description."""
    with safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()[METADATA])
    save_file(load_file(path), path, {METADATA: json.dumps({**content, **changes})})
    return path


@pytest.mark.parametrize("task", TASKS)
def test_a_loaded_model_computes_what_the_saved_one_did(saved, task):
    module, path = saved(task)
    image = torch.rand(2, 3, 50, 70)
    with torch.no_grad():
        expected = module(image)
        for place in (path, path.parent, str(path)):
            assert torch.equal(load(place)(image), expected)
    assert not load(path).training
    assert load(path).classes == ["cat", "dog"]
    assert load(path).info == info_of(task)


def test_a_model_needs_no_other_file(saved, monkeypatch):
    node = node_of("segmentation")
    node["net"] = {**node["net"], "backbone": {**node["net"]["backbone"], "weights": "/absent.pth"}}
    module, path = saved(module=node)
    monkeypatch.chdir(path.parent)
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(load(MODEL)(image), module(image))


def test_the_card_says_what_the_model_is_and_is_honest_about_licences(saved):
    initial = {"backbone": "test_resnet", "weights": "imagenet.pth", "after_classifier": False}
    origin = {"supervision": "tags", "initial_weights": initial, "splits": {"train": "a"}}
    origin["scores"] = {"segmentation/a/miou": 0.25, "segmentation/a/iou_cat": 0.5}
    _, path = saved(provenance=origin)
    card = (path.parent / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: wsss-lightning\n")
    assert_names(card, "image-level labels", "cat", "dog", "0.5, 0.4, 0.3", "imagenet.pth")
    assert_names(card, "licence", "unknown", near=200)
    assert_names(card, "mIoU", "a (trained on)", "25.0", near=60)
    assert_names(card, "IoU of cat", "50.0", near=60)


@pytest.mark.parametrize("has_masks", [True, False])
def test_the_card_claims_scoring_by_masks_only_where_there_are_some(saved, has_masks):
    origin = {"train_masks_used_for": ["scoring"], "splits": {"train": "a"}}
    origin["scores"] = {"pseudo/a/miou": 0.5} if has_masks else {"classifier/b/map": 0.5}
    _, path = saved(provenance=origin)
    assert ("used for: scoring" in (path.parent / "README.md").read_text()) == has_masks


def test_a_score_that_is_not_finite_does_not_prevent_a_model(saved):
    scores = {"classifier/val/map": math.nan, "classifier/val/f1": 0.5}
    review = ReviewCounts(images=1, decisions={"accept": 1}, seconds=2.0, digest="d")
    results = example_results(scores=scores)
    results = replace(results, annotation=replace(results.annotation, review=review))
    origin = provenance_of(results, {}, OmegaConf.create({"pipeline": {"_target_": "tags"}}))
    _, path = saved(provenance=origin)
    stored = load(path).info.provenance
    assert stored["scores"] == {"classifier/val/f1": 0.5}
    assert stored["annotation"]["review"]["images"] == 1


def test_folders_of_the_training_machine_stay_there():
    assert without_folders("data.root=/home/me/photos") == "data.root=.../photos"
    assert without_folders("data.root='~/my photos'") == "data.root=.../my photos"
    assert without_folders("fit.method.max_epochs=3") == "fit.method.max_epochs=3"


@pytest.mark.parametrize(
    ("image", "facts"),
    [
        (torch.rand(1, 3, 40, 40) * 255, ["[0, 1]", "255"]),
        (torch.rand(1, 3, 40, 40) - 0.5, ["[0, 1]"]),
        (torch.full((1, 3, 40, 40), float("nan")), ["[0, 1]"]),
        (torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8), ["uint8", "255", "Predictor"]),
        (torch.rand(3, 40, 40), ["(3, 40, 40)", "(b 3 H W)"]),
        (torch.rand(1, 40, 40, 3), ["(1, 40, 40, 3)"]),
        (torch.rand(0, 3, 40, 40), ["(0, 3, 40, 40)"]),
    ],
)
def test_images_of_another_range_type_or_shape_are_refused(saved, image, facts):
    _, path = saved()
    # beartype would refuse the shape before; users have no such hook
    with raises_naming(InputError, *facts):
        load(path).forward.__wrapped__(load(path), image)


def test_a_file_that_is_cut_off_or_no_model_is_refused(saved, tmp_path):
    _, path = saved()
    content = path.read_bytes()
    for size in (4, 100, len(content) - 10):
        (tmp_path / "cut.safetensors").write_bytes(content[:size])
        with raises_naming(InputError, tmp_path / "cut.safetensors"):
            load(tmp_path / "cut.safetensors")
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "imagenet.safetensors")
    with raises_naming(InputError, tmp_path / "imagenet.safetensors", "backbone.weights"):
        load(tmp_path / "imagenet.safetensors")
    (tmp_path / "last.ckpt").write_bytes(b"x")
    with raises_naming(InputError, tmp_path / "last.ckpt", ".safetensors"):
        load(tmp_path / "last.ckpt")
    with raises_naming(InputError, tmp_path / "absent", "runs/cam"):
        load(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with raises_naming(InputError, tmp_path / "empty", "results.json", MODEL):
        load(tmp_path / "empty")


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"format": 2}, ["format 2", "update"]),
        ({"format": "1"}, ["format"]),
        ({"classes": ["cat"]}, ["colours", "2"]),
        ({"classes": ["cat", "cat"], "module": node_of("segmentation")}, ["cat"]),
        ({"mean": [0.5]}, ["mean"]),
        ({"test": {"scales": [], "flip": False}}, ["scales"]),
        ({"test": {"size": 3}}, ["size"]),
        ({"test": None}, ["segmentation"]),
        ({"task": "detection"}, ["task"]),
        ({"crf": {"theta_alpha": 3}}, ["engine"]),
        ({"surprise": 1}, ["surprise"]),
    ],
)
def test_a_description_that_was_edited_is_refused(saved, changes, facts):
    _, path = saved()
    with raises_naming(InputError, path, *facts):
        load(with_description(path, **changes))


def module_with(**changes) -> dict:
    return {"module": {**node_of("segmentation"), **changes}}


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        (
            module_with(optimizer={"_target_": "os.system", "command": "touch hacked"}),
            ["os.system"],
        ),
        (
            module_with(optimizer={"_target_": "wsss_lightning.nets.weights.read_weights"}),
            ["read_weights"],
        ),
        (
            module_with(
                optimizer={
                    "_target_": "wsss_lightning.methods.sc_cam.files.load_clusters",
                    "path": "/etc/passwd",
                }
            ),
            ["load_clusters", "network"],
        ),
        (module_with(num_classes="${oc.env:HOME}"), ["${oc.env:HOME}"]),
        (module_with(_target_="torch.optim.AdamW", net=None), ["AdamW"]),
        ({"module": node_of("classification")}, ["Classifier", "Segmenter"]),
        (module_with(num_classes=3), ["shape"]),
        ({"module": {}}, ["_target_"]),
    ],
)
def test_a_file_builds_networks_of_allowed_packages_only(saved, changes, facts):
    _, path = saved()
    with raises_naming(InputError, path, *facts):
        load(with_description(path, **changes))


def test_what_is_no_tensor_cannot_be_saved(tmp_path, monkeypatch):
    module = module_of("segmentation")
    monkeypatch.setattr(type(module), "get_extra_state", lambda self: {"steps": 3})
    with raises_naming(InputError, "Segmenter", "_extra_state", "dict", "save_models=false"):
        save_model(tmp_path, module, info_of("segmentation"))
    assert not list(tmp_path.iterdir())


def test_a_name_of_a_network_or_device_is_checked(saved):
    _, path = saved()
    with raises_naming(InputError, "classifer", "classifier"):
        load(path, network="classifer")
    with raises_naming(InputError, path, "segmentation", "classifier"):
        load(path, network="classifier")
    with raises_naming(InputError, "gpu", "cuda"):
        load(path, device="gpu")
    with raises_naming(InputError, "cpu:7"):
        load(path, device="cpu:7")


def test_only_classifiers_have_cams(saved):
    _, path = saved()
    with raises_naming(InputError, "classifier"):
        load(path).cams(torch.rand(3, 40, 40))


def test_cams_are_those_of_the_tags_or_of_what_is_predicted(saved):
    module, path = saved("classification")
    model, image = load(path), torch.rand(3, 33, 49)
    given = model.cams(image, ["dog"])
    assert list(given) == ["dog"]
    assert given["dog"].shape == (33, 49)
    assert 0 <= given["dog"].min() <= given["dog"].max() < 1
    probable = (module(image[None]).sigmoid()[0] > 0.5).tolist()
    shown = [name for name, is_shown in zip(["cat", "dog"], probable, strict=True) if is_shown]
    assert list(model.cams(image)) == shown
    with raises_naming(InputError, "dgo", "dog"):
        model.cams(image, ["dgo"])
    with raises_naming(InputError, "dog", "list"):
        model.cams(image, "dog")


@pytest.mark.slow
def test_a_run_leaves_models_that_equal_its_stages(finished_run, tmp_path):
    image = torch.rand(1, 3, 48, 64)
    moved = shutil.copytree(finished_run / "models", tmp_path / "elsewhere")
    for network in ("segmentation", "classifier"):
        expected = load_stage(finished_run / network)(image)
        assert torch.equal(load(finished_run, network)(image), expected)
        assert torch.equal(load(moved / network)(image), expected)
        card = (moved / network / "README.md").read_text()
        assert_names(card, "tiny_world", "boat", "random weights", "seed 0")
    assert load(finished_run).info.task == "segmentation"
    assert load(finished_run).info.uses_crf
    results = read_results(finished_run / "results.json")
    assert load(finished_run).info.provenance["data_digest"] == results.data_digest
    content = (moved / "segmentation" / MODEL).read_bytes()
    assert str(finished_run.parents[1]).encode() not in content


@pytest.mark.slow
def test_a_run_of_an_earlier_version_is_read_from_its_stages(finished_run, tmp_path):
    for network in ("segmentation", "classifier"):
        new = load(finished_run, network)
        old = tmp_path / network
        shutil.copytree(finished_run, old, symlinks=False, ignore=shutil.ignore_patterns("models"))
        converted = load(old, network)
        assert converted.info == new.info
        image = torch.rand(1, 3, 48, 64)
        assert torch.equal(converted(image), new(image))
    shutil.rmtree(old / "segmentation")
    with raises_naming(InputError, old / "segmentation", "repeat"):
        load(old)
    (old / "hydra/config.yaml").unlink()
    with raises_naming(InputError, "config.yaml"):
        load(old, "classifier")


def test_the_description_must_fit_the_module():
    with raises_naming(TypeError, "Segmenter", "classification"):
        TrainedModel(module_of("segmentation"), info_of("classification"))


def test_the_last_training_of_each_network_is_the_models():
    rounds = {"round_0/classifier": 1, "round_1/classifier": 1, "round_10/classifier": 1}
    results = example_results(seconds={**rounds, "classifier_val": 1, "seeds/train": 1})
    assert trainings(results) == {"classifier": "round_10/classifier"}
    boxes = {"round_1/segmentation": 1, "segmentation": 1, "segmentation_miou/val": 1}
    assert trainings(example_results(seconds=boxes)) == {"segmentation": "segmentation"}


@pytest.mark.slow
def test_models_of_an_earlier_command_in_the_same_folder_are_removed(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run", symlinks=False)
    cfg, results = open_run(run)
    seeds_only = replace(results, seconds={"classifier": 1.0})
    (path,) = save_models(run, cfg, seeds_only)
    assert path == run / "models/classifier" / MODEL
    assert load(run).info.task == "classification"
