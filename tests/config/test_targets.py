import sys

import pytest
from omegaconf import OmegaConf

from wsss_lightning.config.targets import allowed_prefixes, check_targets
from wsss_lightning.errors import InputError

BACKBONE = {
    "_target_": "wsss_lightning.nets.backbones.Backbone",
    "name": "resnet18",
    "output_stride": 16,
    "pretrained": False,
    "weights": None,
    "freeze_norm": None,
    "frozen": [],
    "options": {},
}
OPTIMISER = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}
CORES = {
    "_target_": "wsss_lightning.methods.simple_does_it.boxes.paint_cores",
    "_partial_": True,
    "inner": 0.2,
    "of": "area",
}
AGREEMENT = {
    "_target_": "wsss_lightning.methods.simple_does_it.grabcut.paint_agreement",
    "_partial_": True,
    "iterations": 3,
    "runs": 150,
    "jitter": 0.05,
    "context": [0.1, 0.6],
    "agree": [0.2, 0.7],
    "min_fill": 0.15,
}
DENOISED = {
    "_target_": "wsss_lightning.methods.simple_does_it.boxes.denoised",
    "_partial_": True,
    "class_wise": True,
    "fold": True,
    "min_fill": 0.5,
    "label_confidence": 0.7,
}


def config(**nodes):
    return OmegaConf.create(nodes)


def without(node, *names):
    return {key: value for key, value in node.items() if key not in names}


@pytest.mark.parametrize(
    "node",
    [
        BACKBONE,
        OPTIMISER,
        CORES,
        AGREEMENT,
        DENOISED,
        {"_target_": "pytorch_lightning.Trainer", "_partial_": True, "devices": 1},
        {"_target_": "pytorch_lightning.loggers.CSVLogger", "_partial_": True, "name": ""},
        {"plain": 1},
    ],
)
def test_a_node_that_fits_its_constructor_passes(node):
    check_targets(config(part=node, parts=[node, {"deep": node}]))


def test_a_misspelt_parameter_is_answered_with_the_nearest():
    cfg = config(net={"backbone": {**BACKBONE, "outptu_stride": 8}})
    with pytest.raises(InputError, match=r"net.backbone.outptu_stride .*\boutput_stride\?"):
        check_targets(cfg)


def test_parameters_of_a_partial_are_checked_too():
    with pytest.raises(InputError, match=r"optimizer.weigth_decay .*\bweight_decay\?"):
        check_targets(config(optimizer={**OPTIMISER, "weigth_decay": 0.1}))


@pytest.mark.parametrize("node", [without(BACKBONE, "weights"), {**BACKBONE, "weights": "???"}])
def test_a_parameter_that_is_needed_and_not_set_is_named(node):
    with pytest.raises(InputError, match=r"backbone.weights is not set"):
        check_targets(config(backbone=node))


def test_a_partial_may_leave_parameters_to_its_caller():
    check_targets(config(backbone={**without(BACKBONE, "weights"), "_partial_": True}))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "torch.hub.load",
        "wsss_lightning_evil.run",
        "wsss_lightning",
        "torch.optimal.Adam",
        # ours, but nothing that configuration should call
        "wsss_lightning.steps.train.train",
        "wsss_lightning.utils.files.write_json",
        "wsss_lightning.cache.stage_cache.os.system",
        "pytorch_lightning.core.saving.load_hparams_from_yaml",
        # imported by allowed modules, but not part of them
        "wsss_lightning.nets.backbones.InputError",
        "wsss_lightning.methods.base.partial",
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_configuration_builds_only_what_is_allowed(target, nested):
    node = {"_target_": target}
    cfg = config(a=[1, {"b": [node]}]) if nested else config(a=node)
    place = r"a\[1\]\.b\[0\]" if nested else "a"
    with pytest.raises(InputError, match=rf"{place}\._target_ is {target}"):
        check_targets(cfg)


def test_a_constant_is_no_target():
    with pytest.raises(InputError, match="own classes or functions"):
        check_targets(config(a={"_target_": "wsss_lightning.nets.weights.IRN_MARK"}))


def test_a_misspelt_class_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"Backbon\b.*\bBackbone\?"):
        check_targets(config(a={**BACKBONE, "_target_": BACKBONE["_target_"][:-1]}))


def test_a_module_that_does_not_exist_is_named():
    with pytest.raises(InputError, match=r"wsss_lightning.nets.bakcbones cannot be imported"):
        check_targets(config(a={"_target_": "wsss_lightning.nets.bakcbones.Backbone"}))


@pytest.mark.parametrize(
    ("node", "facts"),
    [
        ({**OPTIMISER, "lr": "fast"}, ["a.lr is fast", "torch.optim.SGD", "a number"]),
        ({**OPTIMISER, "nesterov": 1}, ["a.nesterov is 1", "true or false"]),
        ({**BACKBONE, "output_stride": 16.5}, ["a.output_stride is 16.5", "a whole number"]),
        ({**BACKBONE, "name": None}, ["a.name is null", "text"]),
        ({**BACKBONE, "frozen": "conv1"}, ["a.frozen is conv1", "a list"]),
        ({**BACKBONE, "frozen": [1]}, ["a.frozen is [1]", "a list, each entry text"]),
        ({**BACKBONE, "options": 3}, ["a.options is 3", "a mapping"]),
        ({**BACKBONE, "weights": [1]}, ["a.weights is [1]", "a path", "null"]),
        ({"_target_": "pytorch_lightning.Trainer", "precision": "half"}, ["precision is half"]),
        ({**OPTIMISER, "_args_": [1]}, ["a._args_ is set"]),
        # ranges of a signature
        ({**CORES, "inner": 0}, ["a.inner is 0", "(0, 1]", "the paper has 0.2"]),
        ({**CORES, "of": "volume"}, ["a.of is volume", "side or area"]),
        ({**DENOISED, "min_fill": 1.5}, ["a.min_fill is 1.5", "[0, 1]"]),
        ({**DENOISED, "label_confidence": 1}, ["a.label_confidence is 1", "(0, 1)"]),
        ({**AGREEMENT, "runs": 0}, ["a.runs is 0", "1 or more"]),
        ({**AGREEMENT, "agree": [0.7, 0.2]}, ["a.agree is [0.7, 0.2]", "the smaller first"]),
        ({**AGREEMENT, "agree": [0.7]}, ["a.agree is [0.7]", "exactly 2"]),
        ({**AGREEMENT, "context": [0, 1]}, ["a.context is [0, 1]", "above 0"]),
    ],
)
def test_a_value_that_does_not_fit_is_answered_with_what_is_expected(node, facts):
    with pytest.raises(InputError) as error:
        check_targets(config(a=node))
    for fact in facts:
        assert fact in str(error.value)


def test_an_empty_path_is_named_by_the_key_that_holds_it():
    cfg = config(here=" ", backbone={**BACKBONE, "weights": "${here}"})
    with pytest.raises(InputError, match=r"^here is empty.* here=PATH"):
        check_targets(cfg)
    with pytest.raises(InputError, match=r"^backbone.weights is empty"):
        check_targets(config(backbone={**BACKBONE, "weights": ""}))


@pytest.fixture
def my_methods(tmp_path, monkeypatch):
    """A package of the user's own, which Python can import."""
    (tmp_path / "my_methods").mkdir()
    (tmp_path / "my_methods/__init__.py").touch()
    (tmp_path / "my_methods/foo.py").write_text(
        "from os import system\nclass Foo:\n    def __init__(self, size: int) -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("my_methods", "my_methods.foo"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("my_methods")
@pytest.mark.parametrize("allowed", ["my_methods", "other_pkg, my_methods", "my_methods,"])
def test_a_package_of_the_users_own_is_allowed_by_its_name(monkeypatch, allowed):
    cfg = config(a={"_target_": "my_methods.foo.Foo", "size": 3})
    monkeypatch.delenv("WSSS_ALLOW", raising=False)
    with pytest.raises(InputError, match=r"a\._target_ is my_methods\.foo\.Foo") as error:
        check_targets(cfg)
    assert "WSSS_ALLOW=my_methods" in str(error.value)
    assert "my_methods.foo" not in sys.modules  # nothing ran
    monkeypatch.setenv("WSSS_ALLOW", allowed)
    check_targets(cfg)
    with pytest.raises(InputError, match=r"a\.size is big"):
        check_targets(config(a={"_target_": "my_methods.foo.Foo", "size": "big"}))
    with pytest.raises(InputError, match="own classes or functions"):
        check_targets(config(a={"_target_": "my_methods.foo.system"}))
    with pytest.raises(InputError, match=r"WSSS_ALLOW=.*my_methods,os"):
        check_targets(config(a={"_target_": "os.system"}))


def test_an_allowed_name_covers_no_longer_name(monkeypatch):
    monkeypatch.setenv("WSSS_ALLOW", "my")
    with pytest.raises(InputError, match="my_methods"):
        check_targets(config(a={"_target_": "my_methods.foo.Foo"}))


@pytest.mark.parametrize("value", ["my-methods", "my_methods.foo", "my_methods other", "*"])
def test_entries_of_the_allow_list_are_names_of_packages(monkeypatch, value):
    monkeypatch.setenv("WSSS_ALLOW", value)
    with pytest.raises(InputError, match="WSSS_ALLOW"):
        allowed_prefixes()
