import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from wsss_lightning.config.parameter_errors import parameters_as_keys, with_key
from wsss_lightning.errors import InputError

CFG = OmegaConf.create(
    {
        "backbone": {"output_stride": 16, "weights": None},
        "crf": {"w1": -1},
        "test_crf": "${crf}",
        "method": {
            "net": {"backbone": "${backbone}", "output_stride": 8, "weights": "a.pth"},
            "layers": [1, 2],
            "optimizer": {"lr": 0.1},
            "classes": "${backbone.output_stride}",
        },
    }
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("lr must be > 0, got 0.1", "method.optimizer.lr is 0.1, but must be > 0."),
        ("lr must be > 0, got 0.1; 1 is usual", "lr is 0.1, but must be > 0; 1 is usual."),
        ("lr is 0.1, but must be > 0", "method.optimizer.lr is 0.1, but must be > 0."),
        ("lr must be > 0, got 0.1; 1?", "method.optimizer.lr is 0.1, but must be > 0; 1?"),
        # of several keys of one name, the value tells which is meant
        ("output_stride must be 32, got 8", "method.net.output_stride is 8"),
        ("output_stride must be 32, got 16", "backbone.output_stride is 16"),
        ("weights must fit, got a.pth; x; y", "method.net.weights is a.pth, but must fit; x; y."),
        ("weights must fit, got None", "backbone.weights is null"),
        ("layers must be three, got [1, 2]", "method.layers is [1, 2]"),
        # a reference is named by the key that it refers to
        ("classes must be 3, got 16", "backbone.output_stride is 16"),
    ],
)
def test_a_parameter_is_named_by_its_key(message, expected):
    assert expected in with_key(message, CFG.method)


@pytest.mark.parametrize("message", ["it does not work", "radius must be 2, got 1"])
def test_a_message_about_something_else_has_no_key(message):
    assert with_key(message, CFG.method) is None


def test_a_referred_node_has_its_own_key():
    assert with_key("w1 must be >= 0, got -1", CFG.test_crf).startswith("crf.w1 is -1")


def test_a_copy_is_named_by_the_key_that_is_given():
    copy = OmegaConf.create({"beta": -1})
    assert with_key("beta must be >= 0, got -1", copy, "refine.walk").startswith("refine.walk.beta")


def fail(error):
    with parameters_as_keys(CFG.crf):
        raise error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("w1 must be >= 0, got -1"), "crf.w1 is -1, but must be >= 0."),
        (ValueError("no kernel fits"), "crf: no kernel fits"),
        (InputError("x.pth holds nothing"), "x.pth holds nothing"),
    ],
)
def test_value_errors_become_input_errors(error, message):
    with pytest.raises(InputError) as raised:
        fail(error)
    assert str(raised.value) == message


def test_other_errors_are_passed_on():
    with pytest.raises(TypeError, match="a defect"):
        fail(TypeError("a defect"))


def test_the_error_of_a_constructor_is_found_below_that_of_hydra():
    cfg = OmegaConf.create(
        {"data": {"seeds": {"_target_": "torch.optim.SGD", "params": [], "lr": 0.1}}}
    )
    expected = pytest.raises(InputError, match=r"^data\.seeds: .*empty parameter list")
    with expected, parameters_as_keys(cfg.data.seeds):
        instantiate(cfg.data.seeds)
