"""Tables of published settings are read strictly."""

from pathlib import Path
from typing import Any

import pytest
from facts import raises_naming
from omegaconf import OmegaConf

from wsss_lightning.errors import InputError
from wsss_lightning.recipes import NOT_PUBLISHED, Recipe, read_recipe

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
        ({"hardware": "a GPU"}, ["hardware", "gpus", "null"]),
        ({"repositories": "none"}, ["repositories", "short names"]),
        ({"repositories": {"CODE": "url"}}, ["CODE", "url", "commit"]),
        ({"extends": ["parts/none"]}, ["toy.yaml", "parts/none"]),
    ],
)
def test_a_table_that_is_incomplete_or_contradicts_itself_is_refused(tmp_path, content, facts):
    with pytest.raises(InputError) as error:
        table(tmp_path, **content)
    for fact in facts:
        assert fact in str(error.value)


@pytest.mark.parametrize("text", ["- a list", "title: [", "a text"])
def test_a_file_that_holds_no_keys_is_refused(tmp_path, text):
    (tmp_path / "toy.yaml").write_text(text)
    with raises_naming(InputError, "toy.yaml"):
        read_recipe("toy", tmp_path)


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
    with raises_naming(InputError, "toy.yaml", "fit.method.batch_size"):
        table(tmp_path, extends=["parts/a", "parts/b"], settings=[])


def test_a_part_that_extends_itself_is_refused(tmp_path):
    (tmp_path / "parts").mkdir()
    OmegaConf.save(OmegaConf.create({"extends": ["parts/a"]}), tmp_path / "parts/a.yaml")
    with raises_naming(InputError, "parts/a.yaml"):
        table(tmp_path, extends=["parts/a"])


def test_an_unknown_recipe_is_answered_with_the_nearest():
    with raises_naming(InputError, "seam_voc", "seam_voc2012"):
        read_recipe("seam_voc")
