"""Everything in `conf/` that can be chosen can be composed, and fits what it would build."""

import re

import pytest
from checked import check
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from wsss_lightning.cli.help import print_help
from wsss_lightning.cli.options import group_names, options
from wsss_lightning.config.folder import conf_folder

EXPERIMENTS = options("experiment")
OPTIONS = [
    f"{group}={name}"
    for group in sorted(group_names())
    if group != "experiment"
    for name in options(group)
]
# what a user gives to data that is not generated
GIVEN = {"root": "anywhere", "num_classes": 2, "dataset.classes": ["cat", "dog"]}


def composed(*words: str) -> DictConfig:
    """As `job` gets it, with what is missing filled in."""
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", overrides=[*words])
    for key, value in GIVEN.items():
        parent, _, name = f"data.{key}".rpartition(".")
        node = OmegaConf.select(cfg, parent)
        if OmegaConf.is_missing(node, name) or node[name] is None:  # the run sets what it generates
            OmegaConf.update(cfg, f"data.{key}", value)
    if OmegaConf.is_missing(cfg.backbone, "name"):
        cfg.backbone.name = "resnet18"
    return cfg


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_fits_what_it_builds(name):
    cfg = composed(f"experiment={name}")
    check(cfg)
    assert cfg.name == name


@pytest.mark.parametrize(
    "path", sorted((conf_folder() / "refine/recipe").glob("*.yaml")), ids=lambda path: path.stem
)
def test_settings_of_a_refiner_belong_to_a_published_experiment(path):
    experiment, refine = path.stem.rsplit("_", 1)
    cfg = composed(f"experiment={experiment}", f"refine={refine}")
    check(cfg)
    assert cfg.refine.name == refine
    plain = composed(f"experiment={experiment}", f"refine={refine}", "recipe=none")
    assert cfg.refine != plain.refine
    assert composed(f"experiment={experiment}").refine.name == refine


def test_an_experiment_of_ones_own_keeps_the_settings_of_the_recipe(tmp_path):
    own = tmp_path / "experiment/mine.yaml"
    own.parent.mkdir()
    own.write_text("# @package _global_\ndefaults: [seam_voc2012]\nname: mine\n")
    folder = f"hydra.searchpath=[file://{tmp_path}]"
    steps = {
        word: composed("experiment=mine", folder, *word.split()).refine.get("walk", {}).get("steps")
        for word in ("", "refine=affinity", "refine=affinity refine.walk.steps=5", "refine=crf")
    }
    assert steps == {
        "": 64,
        "refine=affinity": 64,
        "refine=affinity refine.walk.steps=5": 5,
        "refine=crf": None,
    }


@pytest.mark.parametrize("word", OPTIONS)
def test_every_option_of_every_group_goes_with_the_first_experiment(word):
    check(composed("experiment=cam", word))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_second_line_of_every_experiment_says_what_it_is(name):
    path = conf_folder() / f"experiment/{name}.yaml"
    package, line, *_ = path.read_text().splitlines()
    assert package == "# @package _global_"
    assert re.fullmatch(r"# [A-Z].{20,118}\.", line)


@pytest.mark.parametrize("name", ["cam", "grad_cam", "full_supervision"])
def test_plain_experiments_need_no_data_of_the_user(name):
    cfg = composed(f"experiment={name}")
    assert cfg.data.name == "tiny_world"
    assert "generate" in cfg.data
    assert not cfg.backbone.pretrained
    assert not cfg.backbone.weights


@pytest.mark.parametrize("kind", ["_small", ""])
def test_methods_are_compared_by_one_segmentation_network(kind):
    def network(name):
        cfg = composed(f"experiment={name}{kind}")
        chosen = OmegaConf.to_container(cfg.segmenter, resolve=True)
        net = chosen["net"]
        net["output_stride"] = net["output_stride"] or net["backbone"]["output_stride"]
        del net["backbone"]["output_stride"]
        return chosen

    first = network("cam")
    for other in ("seam", "sc_cam", "box", "full_supervision"):
        assert network(other) == first, other


def test_help_lists_every_experiment_and_every_option(capsys):
    print_help()
    told = capsys.readouterr().out
    for name in EXPERIMENTS:
        assert f" {name} " in told
    for word in OPTIONS:
        group, name = word.split("=")
        if group == "recipe":  # experiments choose it
            assert " recipe " not in told
            continue
        assert f" {group} " in told
        assert re.search(rf"\b{name}\b", told)
