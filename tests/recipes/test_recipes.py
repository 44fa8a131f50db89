"""Published experiments compose to the published settings, and nothing differs without a reason."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from facts import raises_naming
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from wsss_lightning.cli import run as cli
from wsss_lightning.cli.options import group_names, options
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.errors import InputError
from wsss_lightning.recipes import Difference, differences, read_recipe, recipe_names
from wsss_lightning.recipes.__main__ import markdown

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs/recipes.md"
NAMES = recipe_names()

# nodes that decide on the result of a pipeline
SEGMENTATION = ("fit.segmenter", "segmenter", "test", "test_crf")
NODES = {
    "image_labels": (
        "data",
        "backbone",
        "method",
        "fit.method",
        "cam",
        "seeds",
        "refine",
        "pseudo",
        "pipeline",
        "trainer.precision",
        *SEGMENTATION,
    ),
    "boxes": (
        "data",
        "box_labels",
        "relabel",
        "crf",
        "pipeline",
        "trainer.precision",
        *SEGMENTATION,
    ),
    "full_supervision": ("data", "pipeline", "trainer.precision", *SEGMENTATION),
}
NODES["sc_cam"] = NODES["image_labels"]

# keys below these nodes that are no hyperparameters, and why
NO_HYPERPARAMETERS = {
    "*._partial_": "how Hydra builds a node",
    "*._recursive_": "how Hydra builds a node",
    "*._convert_": "how Hydra builds a node",
    "data.name": "a name",
    "data.root": "a folder of the user",
    "data.crop_size": "read through fit.*.crop_size only",
    "data.long_side": "read through fit.*.long_side only",
    "data.val": "the split to score on",
    "data.subcategories": "scores sub-categories, if known",
    "data.scored*": "further splits to score",
    "data.dataset._target_": "the only reader",
    "data.dataset.root": "a folder of the user",
    "data.dataset.classes": "names of the data set",
    "data.dataset.lists.*": "files of the data set",
    "data.dataset.*_dir": "folders of the data set; masks score only, unless they supervise",
    "data.dataset.mask_ids": "encoding of masks",
    "data.dataset.mask_colours": "encoding of masks",
    "data.dataset.unmapped": "encoding of masks",
    "data.dataset.boxes": "read by pipeline=boxes only, whose tables have it",
    "data.dataset.difficult": "read by pipeline=boxes only, whose tables have it",
    "data.dataset.tags": "read by pipelines that learn from tags, whose tables have it",
    "data.dataset.on_missing_labels": "a check, except where images without a tag are used",
    "data.dataset.retags": "written by a run, from pseudo.review",
    "pseudo.drop_worst": "no official code drops masks; 0 in the defaults",
    "pseudo.masks": "files of the user",
    "pseudo.review": "a file of the user",
    "pseudo.box_min_fill": "read with pseudo.review only",
    "*backbone._target_": "the only kind of backbone",
    "*.weights": "a file of the user; which one is a fact",
    "*backbone.options": "of timm's networks",
    "*backbone.mean": "belongs to the weights",
    "*backbone.std": "belongs to the weights",
    "segmenter.net.backbone.output_stride": "replaced by segmenter.net.output_stride",
    "*.num_classes": "of the data set",
    "method.net.block_mib": "memory, changes no number",
    "cam.batch_size": "changes no number",
    "test.batch_size": "changes no number",
    "refine.walk.batch_size": "changes no number",
    "*.engine": "implementations of one CRF",
    "seeds.thresholds": "resolution of a curve",
    "seeds.held_out": "part of the scoring protocol",
    "refine.name": "a name",
    "refine.label": "a name",
    "pipeline.segment": "whether the last stage runs",
    "pipeline.clusters.stability": "reports, changes no number",
    "fit.segmenter.validate_crf": "logs, changes no number",
}
# a node that refers to the backbone of the method holds nothing of its own
SHARED_BACKBONES = (
    "method.net.backbone",
    "refine.module.net.backbone",
    "pipeline.first.net.backbone",
)


@cache
def composed(name: str) -> DictConfig:
    recipe = read_recipe(name)
    words = [f"experiment={recipe.experiment}", *recipe.overrides, "data.root=anywhere"]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=words)


def plain(cfg: DictConfig) -> Any:
    return OmegaConf.to_container(cfg, resolve=True)


def leaves(node: Any, key: str) -> Iterator[str]:
    if isinstance(node, dict) and node:
        for name, below in node.items():
            yield from leaves(below, f"{key}.{name}")
    else:
        yield key


def value_of(node: Any, key: str) -> Any:
    """What stands below a dotted key; None where there is no such key."""
    for name in key.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def refers_to_backbone(cfg: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent)
    if not isinstance(node, DictConfig) or name not in node:
        return False
    return bool(node._get_node(name)._is_interpolation())  # type: ignore[union-attr]


# our experiments against the tables


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_composes_to_its_published_settings(name):
    found = differences(read_recipe(name), plain(composed(name)))
    assert [str(difference) for difference in found] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_hyperparameter_is_in_the_table(name):
    cfg, recipe = composed(name), read_recipe(name)
    shared = [key for key in SHARED_BACKBONES if refers_to_backbone(cfg, key)]
    ignored = [*NO_HYPERPARAMETERS, *(f"{key}.*" for key in shared)]
    stated = {setting.key for setting in recipe.settings}
    pipeline = cfg.pipeline._target_.rpartition(".")[2]
    missing = []
    for node in NODES[pipeline]:
        for key in leaves(value_of(plain(cfg), node), node):
            parts = key.split(".")
            above = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
            if not above & stated and not any(fnmatch(key, pattern) for pattern in ignored):
                missing.append(key)
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_names_its_recipe(name):
    assert read_recipe(name).experiment == name
    assert composed(name).recipe == name


def test_every_recipe_that_can_be_chosen_has_a_table():
    assert [name for name in options("recipe") if name != "none"] == NAMES


@cache
def functions(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", NAMES)
def test_the_tests_that_verify_facts_exist(name):
    named = [fact.test.split("::") for fact in read_recipe(name).facts if fact.test]
    absent = [f"{file}::{case}" for file, case in named if case not in functions(ROOT / file)]
    assert absent == []


def test_tables_of_published_runs_are_no_group_to_choose_from():
    assert (conf_folder() / "published").is_dir()
    assert "published" not in group_names()


# runs


def test_a_run_without_a_recipe_is_compared_with_none():
    assert cli.published_run(OmegaConf.create({"name": "cam"})) is None
    assert cli.published_run(OmegaConf.create({"recipe": None})) is None


def test_a_changed_run_of_a_recipe_is_not_taken_for_the_published_one():
    cfg = OmegaConf.merge(composed("seam_voc2012"), {})
    OmegaConf.set_struct(cfg, False)
    cfg.recipe, cfg.fit.method.batch_size = "seam_voc2012", 4
    compared = cli.published_run(cfg)
    assert compared is not None
    recipe, found = compared
    assert recipe.name == "seam_voc2012"
    assert Difference("fit.method.batch_size", 4, 8) in found


def test_a_recipe_without_a_table_is_refused():
    with raises_naming(InputError, "my_own"):
        cli.published_run(OmegaConf.create({"recipe": "my_own"}))


# documentation


@pytest.mark.skipif(not DOCS.is_file(), reason="docs/ is not in the sdist")
def test_the_documentation_is_generated_from_the_tables():
    text = DOCS.read_text()
    begin, end = "<!-- generated by python -m wsss_lightning recipes --markdown -->", "<!-- end -->"
    generated = text.partition(begin)[2].partition(end)[0].strip()
    expected = markdown([read_recipe(name) for name in NAMES])
    assert generated == expected, f"put the output of the command in {begin} into docs/recipes.md"
