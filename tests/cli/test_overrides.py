"""Overrides quoted for the shell only."""

import pytest
from facts import raises_naming
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from omegaconf import OmegaConf

from wsss_lightning.cli.options import composed
from wsss_lightning.cli.overrides import (
    as_typed,
    expand_home,
    parsed,
    read_overrides,
    split_options,
)
from wsss_lightning.errors import InputError

# of folders
NAMES = (
    *(
        "a=b",
        "a,b",
        "my data",
        "data (1)",
        "数据",
        "50%",
        "a#b",
        "it's",
        "a{b}",
        "a[1]",
        "$x",
        "~t",
    ),
    *("a@b", "a\\b", "a:b", "a;b", "a&b", "!x", 'say "x"', "a|b", "a*b?", "é", "👍", " a ", "a\nb"),
    *("2012", "1e5", "true", "null", "[a]", "choice(1,2)", "end\\", "a'b\"c", "-x", "+x", "x="),
)


def read(overrides, options=()):
    """What Hydra reads of each override after our quoting; texts without their quotes."""
    chosen = ["experiment=cam", "data=voc_layout", "method=seam"]
    _, words = read_overrides([*options], [*chosen, *overrides])
    found = []
    for word in words[len(chosen) :]:
        override = OverridesParser.create().parse_override(word)
        value = override._value
        if override.is_sweep_override():
            value = [one.strip("'") for one in override.sweep_string_iterator()]
        found.append(value.text if isinstance(value, QuotedString) else value)
    return found


@pytest.mark.parametrize(
    "key", ["data.root", "backbone.weights", "method.net.weights", "output_dir"]
)
def test_paths_of_any_letters_are_taken_as_they_are_typed(tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        (tmp_path / name).mkdir()
    given = [*(f"{tmp_path}/{name}/" for name in NAMES), *NAMES]
    assert read([f"{key}={path}" for path in given]) == given


def test_paths_that_are_not_there_are_taken_too_for_a_message_about_them():
    keys = (
        *(
            "data.root",
            "data.dataset.root",
            "data.dataset.tags",
            "data.subcategories",
            "method.net.weights",
        ),
        *("+logger.csv.save_dir", "+trainer.default_root_dir", "hydra.run.dir"),
    )
    assert read([f"{key}=/no/a=b (1)" for key in keys]) == ["/no/a=b (1)"] * len(keys)


def test_home_is_expanded_in_values_in_options_and_in_sweeps(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["data.root=~/x y", "output_dir=~", "data.root=~nobody-of-this-name/x"]
    assert read(words) == [f"{tmp_path}/x y", str(tmp_path), "~nobody-of-this-name/x"]
    options, words = read_overrides(["-m", "--config-dir=~/c", "-cd", "~/d"], ["data.root=~/a,~/b"])
    assert options == ["-m", f"--config-dir={tmp_path}/c", "-cd", f"{tmp_path}/d"]
    assert words == [f"data.root='{tmp_path}/a','{tmp_path}/b'"]


def test_home_is_expanded_in_files_as_well(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    cfg = OmegaConf.create({"a": {"root": "~/x", "n": 1}, "b": ["~/y", "z~"], "c": "${a}"})
    expand_home(cfg)
    assert cfg == {"a": {"root": "/home/me/x", "n": 1}, "b": ["/home/me/y", "z~"], "c": "${a}"}


EXPRESSIONS = {
    "seed=0,1,2": ["0", "1", "2"],
    "seed=choice(0,1)": ["0", "1"],
    "seed=range(0,3)": ["0", "1", "2"],
    "fit.method.long_side=[48,80]": [48, 80],
    "fit.method.scale=[0.5, 1.5]": [0.5, 1.5],
    "fit.method.jitter={hue: 0.1}": {"hue": 0.1},
    "fit.method.max_epochs=3": 3,
    "fit.method.flip=false": False,
    "cam.long_side=null": None,
    "backbone.weights=null": None,
    "name='a, b'": "a, b",
    "name=a b": "a b",
    "data.root=${oc.env:HOME}/x": "${oc.env:HOME}/x",
    "backbone.weights=a.pth,null": ["a.pth", "null"],
    "data.root=/a,/b": ["/a", "/b"],
    "data.root='/a','/b c'": ["/a", "/b c"],
    "experiment=cam,seam": ["cam", "seam"],
    "+new=[1,2]": [1, 2],
}


def test_expressions_of_hydra_stay_what_they_are():
    found = read(EXPRESSIONS, ["-m"])
    assert dict(zip(EXPRESSIONS, map(repr, found), strict=True)) == {
        word: repr(value) for word, value in EXPRESSIONS.items()
    }


def test_in_a_sweep_of_paths_each_is_quoted_and_commas_of_existing_ones_stay(tmp_path):
    one, two = tmp_path / "a=b,c", tmp_path / "my (2)"
    one.mkdir()
    words = [f"data.root={one},{two}", f"data.root={one}"]
    assert read(words, ["-m"]) == [[str(one), str(two)], str(one)]
    # without -m there is no sweep, so a comma is a comma
    assert read([f"data.root={two},x"]) == [f"{two},x"]


def test_a_number_is_a_number_even_where_a_folder_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "320").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read(["cam.long_side=320", "seed=320"]) == [320, 320]


def test_a_folder_whose_name_reads_as_a_reference_is_refused_by_name(tmp_path):
    (tmp_path / "${now}").mkdir()
    with raises_naming(InputError, "data.root", "${now}"):
        read([f"data.root={tmp_path}/${{now}}"])


@pytest.mark.parametrize(
    "word", ["data.root=", "data.root=''", "output_dir= ", "backbone.weights="]
)
def test_an_empty_path_is_refused(word):
    with raises_naming(InputError, word.partition("=")[0]):
        read([word])


def test_overrides_that_do_not_parse_stay_as_they_are():
    assert parsed("fit.method.long_side=[48") is parsed("x=[")
    _, words = read_overrides([], ["fit.method.long_side=[48"])
    assert words == ["fit.method.long_side=[48"]


def test_options_come_before_overrides_with_their_values():
    words = ["experiment=cam", "--config-dir", "a=b", "-m", "seed=0,1", "--cfg", "job", "data=mine"]
    options, overrides = split_options([*words, "--info", "x=1", "-i", "defaults"])
    assert options == [
        *("--config-dir", "a=b", "-m", "--cfg", "job", "--info=all", "--info=defaults")
    ]
    assert overrides == ["experiment=cam", "seed=0,1", "data=mine", "x=1"]


def test_words_are_kept_as_they_were_typed():
    cfg = composed(["data=voc_layout", "method=seam"])
    words = ["data.root=/a=b, c", "method.net.weights=/it's", "name='1'", "seed=1", "fit.x=[1, 2]"]
    assert [as_typed(word, cfg) for word in read_overrides([], words)[1]] == words
