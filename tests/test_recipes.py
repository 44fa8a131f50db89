"""Published experiments compose to the published settings, and nothing differs without a reason."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from wsss_lightning import cli
from wsss_lightning.choices import conf_folder, group_names, options
from wsss_lightning.errors import InputError
from wsss_lightning.recipes import (
    NOT_PUBLISHED,
    Difference,
    Recipe,
    differences,
    read_recipe,
    recipe_names,
    record,
    summary,
)
from wsss_lightning.recipes.__main__ import main, markdown, print_recipe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs/recipes.md"
NAMES = recipe_names()

# nodes that decide on the result of a pipeline
SEGMENTATION = ("fit.segmenter", "segmenter", "test", "test_crf")
NODES = {
    "tags": (
        "data",
        "backbone",
        "method",
        "fit.method",
        "score",
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
NODES["sc_cam"] = NODES["tags"]

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
    "data.looks": "scores sub-categories, if known",
    "data.scored*": "further splits to score",
    "data.reader._target_": "the only reader",
    "data.reader.root": "a folder of the user",
    "data.reader.classes": "names of the data set",
    "data.reader.lists.*": "files of the data set",
    "data.reader.*_dir": "folders of the data set; masks score only, unless they supervise",
    "data.reader.mask_ids": "encoding of masks",
    "data.reader.mask_colours": "encoding of masks",
    "data.reader.unmapped": "encoding of masks",
    "data.reader.boxes": "read by pipeline=boxes only, whose tables have it",
    "data.reader.difficult": "read by pipeline=boxes only, whose tables have it",
    "data.reader.tags": "read by pipelines that learn from tags, whose tables have it",
    "data.reader.untagged": "a check, except where images without a tag are used",
    "*backbone._target_": "the only kind of backbone",
    "*.weights": "a file of the user; which one is a fact",
    "*backbone.options": "of timm's networks",
    "*backbone.mean": "belongs to the weights",
    "*backbone.std": "belongs to the weights",
    "*.num_classes": "of the data set",
    "method.net.block_mib": "memory, changes no number",
    "score.batch_size": "changes no number",
    "test.batch_size": "changes no number",
    "refine.walk.batch_size": "changes no number",
    "*.engine": "implementations of one CRF",
    "seeds.thresholds": "resolution of a curve",
    "seeds.held_out": "part of the scoring protocol",
    "refine.name": "a name",
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
        value = plain(OmegaConf.select(cfg, node)) if node != "trainer.precision" else None
        for key in leaves(value, node):
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


# the reader

HEAD: dict[str, Any] = {
    "title": "A run",
    "experiment": "toy",
    "paper": "Nobody, 2020",
    "repositories": {"CODE": {"url": "https://example.org/code", "commit": "0" * 40}},
    "scores": [{"key": "seeds/train/miou", "published": 50.0, "tolerance": 1, "source": "paper"}],
    "hardware": {"gpus": "1", "gpu_hours": 2.5, "source": "CODE README"},
}
ROW = {"key": "fit.method.batch_size", "official": 16, "source": "CODE train.py:3"}
DIFFERENT = {**ROW, "ours": 4, "reason": "memory", "effect": "none"}
FACT = {"fact": "loss", "official": "mean", "source": "CODE train.py:7"}
VERIFIED = {**FACT, "test": "tests/test_loss.py::test_loss"}


def table(folder: Path, **content: Any) -> Recipe:
    written = {**HEAD, "settings": [ROW], **content}
    OmegaConf.save(OmegaConf.create(written), folder / "toy.yaml")
    return read_recipe("toy", folder)


def test_a_table_holds_what_its_file_says(tmp_path):
    recipe = table(tmp_path, settings=[DIFFERENT], facts=[VERIFIED], note="read this")
    assert (recipe.name, recipe.experiment, recipe.note) == ("toy", "toy", "read this")
    assert recipe.repositories["CODE"].commit == "0" * 40
    assert recipe.scores[0].published == 50.0
    assert recipe.hardware is not None
    assert recipe.hardware.gpu_hours == 2.5
    (setting,) = recipe.settings
    assert (setting.official, setting.ours, setting.deliberate) == (16, 4, True)
    assert recipe.facts[0].test == "tests/test_loss.py::test_loss"
    assert recipe.deliberate == (setting,)


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        ({"colour": "red"}, ["toy.yaml", "colour"]),
        ({"paper": ""}, ["toy.yaml", "paper"]),
        ({"settings": [{**ROW, "offical": 1}]}, ["fit.method.batch_size", "offical", "official"]),
        ({"settings": [{"key": "a", "official": 1}]}, ["toy.yaml, a", "source"]),
        ({"settings": [ROW, ROW]}, ["fit.method.batch_size", "two rows"]),
        ({"settings": [ROW, {**ROW, "key": "fit.method"}]}, ["fit.method ", "batch_size"]),
        ({"settings": [{**DIFFERENT, "ours": 16}]}, ["fit.method.batch_size", "equals official"]),
        ({"settings": [{**ROW, "ours": 4}]}, ["fit.method.batch_size", "reason"]),
        ({"settings": [{**ROW, "ours": 4, "reason": "memory"}]}, ["batch_size", "effect"]),
        ({"settings": [{**DIFFERENT, "effect": " "}]}, ["batch_size", "effect"]),
        ({"settings": [{**ROW, "reason": "memory"}]}, ["batch_size", "reason", "ours"]),
        ({"settings": [{**ROW, "official": NOT_PUBLISHED}]}, ["batch_size", NOT_PUBLISHED]),
        ({"settings": [{**ROW, "source": "train.py:3"}]}, ["batch_size", "CODE", "paper"]),
        ({"settings": [{**ROW, "source": "CODE train.py"}]}, ["batch_size", "CODE", "LINE"]),
        ({"settings": [{**ROW, "source": "paper; CODE"}]}, ["batch_size", "CODE", "LINE"]),
        ({"settings": "none"}, ["toy.yaml", "settings", "list"]),
        ({"facts": [FACT]}, ["loss", "test", "ours"]),
        ({"facts": [{**VERIFIED, "ours": "sum"}]}, ["loss", "test", "ours"]),
        ({"facts": [{**FACT, "ours": "sum", "reason": "speed"}]}, ["loss", "effect"]),
        ({"facts": [{**FACT, "test": "test_loss"}]}, ["loss", "test_loss", "tests/"]),
        ({"scores": [{**HEAD["scores"][0], "published": 500}]}, ["scores[0]", "500", "100"]),
        ({"scores": [{**HEAD["scores"][0], "tolerance": "1"}]}, ["scores[0]", "tolerance"]),
        ({"hardware": {"gpus": "1"}}, ["hardware", "gpu_hours", "source"]),
        ({"repositories": {"CODE": {"url": "u", "commit": "main"}}}, ["CODE", "main", "40"]),
        ({"extends": ["parts/none"]}, ["toy.yaml", "parts/none"]),
    ],
)
def test_a_table_that_is_incomplete_or_contradicts_itself_is_refused(tmp_path, content, facts):
    with pytest.raises(InputError) as error:
        table(tmp_path, **content)
    for fact in facts:
        assert fact in str(error.value)


def test_a_row_of_the_table_replaces_that_of_a_part(tmp_path):
    (tmp_path / "parts").mkdir()
    repositories = {"PART": {"url": "https://example.org/part", "commit": "1" * 40}}
    rows = [{**ROW, "source": "PART a.py:1"}, {"key": "seed", "official": 1, "source": "paper"}]
    part = {
        "repositories": repositories,
        "settings": rows,
        "facts": [VERIFIED | {"source": "paper"}],
    }
    OmegaConf.save(OmegaConf.create(part), tmp_path / "parts/shared.yaml")
    recipe = table(tmp_path, extends=["parts/shared"], settings=[{**ROW, "official": 8}])
    assert {setting.key: setting.official for setting in recipe.settings} == {
        "fit.method.batch_size": 8,
        "seed": 1,
    }
    assert set(recipe.repositories) == {"CODE", "PART"}
    assert [fact.fact for fact in recipe.facts] == ["loss"]


def test_two_parts_may_not_state_one_key(tmp_path):
    (tmp_path / "parts").mkdir()
    for name in ("a", "b"):
        part = OmegaConf.create({"settings": [{**ROW, "source": "paper"}]})
        OmegaConf.save(part, tmp_path / f"parts/{name}.yaml")
    with pytest.raises(InputError, match=r"toy.yaml.*two parts.*fit.method.batch_size"):
        table(tmp_path, extends=["parts/a", "parts/b"], settings=[])


def test_a_part_that_extends_itself_is_refused(tmp_path):
    (tmp_path / "parts").mkdir()
    OmegaConf.save(OmegaConf.create({"extends": ["parts/a"]}), tmp_path / "parts/a.yaml")
    with pytest.raises(InputError, match=r"parts/a.yaml extends itself"):
        table(tmp_path, extends=["parts/a"])


def test_an_unknown_recipe_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"seam_voc.*did you mean seam_voc2012"):
        read_recipe("seam_voc")


# comparison


def toy(*rows: tuple[str, Any]) -> Recipe:
    from wsss_lightning.recipes import Setting

    settings = tuple(Setting(key, value, "paper", False, value, "", "") for key, value in rows)
    return Recipe("toy", "A run", "toy", (), "Nobody", "", {}, (), None, settings, ())


def test_a_changed_value_is_found_with_the_published_one():
    recipe = toy(("fit.batch_size", 16), ("fit.flip", True), ("scales", [0.5, 1.0]))
    found = differences(recipe, {"fit": {"batch_size": 4, "flip": True}, "scales": [0.5, 1]})
    assert found == [Difference("fit.batch_size", 4, 16)]
    assert str(found[0]) == "fit.batch_size: 4 (published 16)"


def test_a_row_of_several_keys_is_compared_key_by_key():
    recipe = toy(("jitter", {"hue": 0.1, "contrast": 0.3}))
    found = differences(recipe, {"jitter": {"hue": 0.1, "contrast": 0.0}})
    assert found == [Difference("jitter.contrast", 0.0, 0.3)]


def test_a_node_that_is_absent_counts_once():
    recipe = toy(("refine.walk.beta", 8), ("refine.walk.steps", 256), ("refine.crf", None))
    found = differences(recipe, {"refine": {"crf": None}})
    assert [str(difference) for difference in found] == ["refine.walk: absent"]


@pytest.mark.parametrize(
    ("value", "expected", "same"),
    [
        (5e-4, 0.0005, True),
        (0.1 + 0.2, 0.3, True),
        (1, 1.0, True),
        (True, 1, False),
        (0, False, False),
        (None, 0, False),
        ([1, 2], [1, 2, 3], False),
        ([[0.5]], [[0.5]], True),
        ("irn", "psa", False),
    ],
)
def test_values_are_equal_but_for_rounding(value, expected, same):
    found = differences(toy(("key", expected)), {"key": value})
    assert (found == []) is same


def test_a_run_of_the_published_settings_says_so():
    assert "equal the published run (recipe toy)" in summary(toy(("a", 1)), [])


def test_a_long_list_of_differences_is_cut_and_counted():
    recipe = toy(*((f"key{i}", i) for i in range(9)))
    lines = summary(recipe, differences(recipe, {f"key{i}": -1 for i in range(9)})).splitlines()
    assert lines[0].startswith("9 settings not of the published run (recipe toy)")
    assert lines[1] == "  key0: -1 (published 0)"
    assert lines[-1] == "  and 3 more"
    assert len(lines) == 8


def test_a_record_holds_name_and_differences():
    recipe = toy(("a", 1))
    assert record(recipe, differences(recipe, {"a": 2})) == {
        "name": "toy",
        "differences": [{"key": "a", "value": 2, "published": 1}],
    }


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
    with pytest.raises(InputError, match=r"recipe my_own has no table"):
        cli.published_run(OmegaConf.create({"recipe": "my_own"}))


# what is printed


def test_all_recipes_are_listed(capsys):
    main([])
    printed = re.sub(r"\s+", "", capsys.readouterr().out)
    for name in NAMES:
        assert name in printed


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_printed_with_every_row_and_differences_first(name):
    recipe, file = read_recipe(name), StringIO()
    print_recipe(recipe, Console(file=file, width=400))
    printed = file.getvalue()
    for setting in recipe.settings:
        assert setting.key in printed
        assert setting.source in printed
    for fact in recipe.facts:
        assert fact.official in printed
    first_setting = printed.index(recipe.settings[0].source, printed.index("Settings ("))
    for row in recipe.deliberate:
        assert printed.index(row.reason) < first_setting
        assert row.effect in printed


def test_an_unknown_name_ends_with_exit_code_1(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["seam_voc"])
    assert ended.value.code == 1
    assert "seam_voc2012" in capsys.readouterr().err


@pytest.mark.skipif(not DOCS.is_file(), reason="docs/ is not in the sdist")
def test_the_documentation_is_generated_from_the_tables():
    text = DOCS.read_text()
    begin, end = "<!-- generated by python -m wsss_lightning.recipes --markdown -->", "<!-- end -->"
    generated = text.partition(begin)[2].partition(end)[0].strip()
    expected = markdown([read_recipe(name) for name in NAMES])
    assert generated == expected, f"put the output of the command in {begin} into docs/recipes.md"
