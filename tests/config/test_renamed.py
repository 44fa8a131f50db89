import copy

import hydra
import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

import wsss_lightning.cli.run  # noqa: F401 (registers the schema and resolvers)
from wsss_lightning.cli.options import composed
from wsss_lightning.cli.overrides import read_overrides
from wsss_lightning.cli.suggestions import suggest_key
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.config.renamed import (
    KEYS,
    TARGETS,
    VALUES,
    check_renamed,
    current_config,
    current_module,
    new_key,
    translate_overrides,
)
from wsss_lightning.config.targets import check_targets
from wsss_lightning.errors import InputError


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("score.scales=[1.0]", "cam.scales=[1.0]"),
        ("score.bits=8,16", "cam.storage_bits=8,16"),
        ("runs=/a b", "output_dir=/a b"),
        ("+data.reader.lists.test=x.txt", "+data.dataset.lists.test=x.txt"),
        ("data.reader.untagged=background", "data.dataset.on_missing_labels=background"),
        ("~data.reader.lists.val", "~data.dataset.lists.val"),
        ("++method.net.taps=[1]", "++method.net.feature_layers=[1]"),
        ("refine.module.power=0.9", "refine.module.poly_power=0.9"),
        ("pipeline.first.head_factor=5", "pipeline.first.head_lr_multiplier=5"),
        ("pipeline.network=afresh,continued", "pipeline.training=scratch,finetune"),
        ("pipeline.begin=choice(initial,last)", "pipeline.init_from=choice(backbone,last_round)"),
        ("pipeline.training=afresh", "pipeline.training=scratch"),
        ("box_labels.least=0.1", "box_labels.min_fill=0.1"),
    ],
)
def test_old_names_are_translated_with_a_note(old, new, capsys):
    assert translate_overrides([old]) == [new]
    note = capsys.readouterr().err
    assert new.partition("=")[0].lstrip("+~") in note
    assert old.partition("=")[0].lstrip("+~") in note
    assert "0.3" in note


@pytest.mark.parametrize(
    "word",
    [
        "seed=0",
        "box_labels.runs=3",
        "refine.labels.low.power=4",
        "crf@test_crf=psa",
        "name=score",
        "data.name=runs",
        "scores=1",
        "pipeline.training=scratch",
        "--info",
    ],
)
def test_other_words_stay_as_they_are(word, capsys):
    assert translate_overrides([word]) == [word]
    assert not capsys.readouterr().err


def test_the_command_line_takes_old_names(capsys):
    words = ["experiment=box", "pictures=2", "data.reader.tags=xml", "pipeline.network=afresh"]
    _, read = read_overrides([], words)
    assert read[1:] == ["num_previews=2", "data.dataset.tags=xml", "pipeline.training=scratch"]
    assert capsys.readouterr().err.count("renamed") == 3
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        assert hydra.compose("config", read).num_previews == 2


def test_every_new_key_exists():
    """In one of the experiments that use all groups with renamed keys."""
    chosen = (
        ["experiment=seam", "refine=affinity"],
        ["experiment=sc_cam", "pipeline=sc_cam"],
        ["experiment=box", "box_labels=grabcut"],
    )
    missing = object()
    cfgs = [composed(words) for words in chosen]
    for new in KEYS.values():
        if new.startswith(("segmenter.net", "pipeline.first.net")):
            continue  # networks without feature_layers
        found = []
        for cfg in cfgs:
            parent, _, name = new.rpartition(".")
            node = OmegaConf.select(cfg, parent) if parent else cfg
            found.append(missing if node is None or name not in node else name)
        assert set(found) != {missing}, new


def test_an_old_key_in_a_file_is_answered_with_the_new_one():
    for old, new in KEYS.items():
        cfg = OmegaConf.create({})
        OmegaConf.update(cfg, old, 1)
        with pytest.raises(InputError) as error:
            check_renamed(cfg)
        assert new in str(error.value), old
    for key, values in VALUES.items():
        for old, new in values.items():
            cfg = OmegaConf.create({})
            OmegaConf.update(cfg, key, old)
            with pytest.raises(InputError, match=f"{key} is {old}.*{new}"):
                check_renamed(cfg)


def test_an_unknown_key_that_was_renamed_is_answered_with_the_new_one():
    assert new_key("score.flip") == "cam.flip"
    assert "cam.flip" in suggest_key("score.flip", ["experiment=cam"])
    assert new_key("cam.flip") is None


@pytest.mark.parametrize("old", TARGETS)
def test_an_old_target_is_answered_with_one_that_exists(old):
    assert callable(get_object(TARGETS[old]))
    with pytest.raises(InputError) as error:
        check_targets(OmegaConf.create({"a": {"_target_": old}}))
    assert TARGETS[old] in str(error.value)


def test_a_stored_configuration_gets_the_current_names():
    old = {
        "score": {"scales": [1.0], "bits": 8},
        "runs": "here",
        "method": {
            "_target_": "wsss_lightning.methods.classifier.Classifier",
            "head_factor": 10,
            "net": {"_target_": "wsss_lightning.nets.seam_net.SeamNet", "taps": [1]},
        },
        "test": {"flip": True},
    }
    kept = copy.deepcopy(old)
    new = current_config(old)
    assert old == kept
    assert new["cam"] == {"scales": [1.0], "storage_bits": 8}
    assert new["output_dir"] == "here"
    assert new["test"] == {"flip": True}
    assert new["method"]["head_lr_multiplier"] == 10
    assert new["method"]["_target_"] == "wsss_lightning.methods.cam.module.Classifier"
    assert new["method"]["net"]["feature_layers"] == [1]
    assert not {"score", "runs"} & set(new)
    assert not {"head_factor", "taps"} & {*new["method"], *new["method"]["net"]}
    assert current_config(new) == new


def test_a_stored_module_gets_the_parameters_that_its_network_has_gained():
    target = "wsss_lightning.nets.cam_net.CamNet"
    module = current_module({"power": 0.9, "net": {"_target_": target, "dropout": 0.0}})
    assert module["poly_power"] == 0.9
    assert module["net"] == {
        "_target_": "wsss_lightning.methods.cam.network.CamNet",
        "dropout": 0.0,
        "head_init": "default",
        "weights": None,
    }
    assert current_module({"net": {"head_init": "xavier"}}) == {"net": {"head_init": "xavier"}}
