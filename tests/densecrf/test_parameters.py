import inspect
from dataclasses import asdict

import numpy as np
import pytest
from facts import raises_naming
from hydra import compose, initialize_config_dir

from wsss_lightning.cli.options import options
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.densecrf.api import mean_field
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError

PSA = CRFParameters(theta_alpha=80, theta_beta=13, theta_gamma=3, w1=10, w2=3, iterations=10)


def unchecked(function):
    """Without the checks of types that only the tests add."""
    return inspect.unwrap(function)


@pytest.mark.parametrize(
    ("name", "value", "facts"),
    [
        ("theta_alpha", -80.0, ["theta_alpha", "-80.0", 0.1]),
        ("theta_beta", 0, ["theta_beta", 0, 3, 13]),
        ("theta_gamma", 1e-9, ["theta_gamma", "1e-09"]),
        ("w1", float("nan"), ["w1", "nan", 0]),
        ("w2", float("inf"), ["w2", "inf"]),
        ("iterations", -1, ["iterations", -1, 0]),
        ("iterations", 2.5, ["iterations", 2.5, 0]),
        ("theta_alpha", "80", ["theta_alpha", "80"]),
    ],
)
def test_parameters_without_meaning_are_refused(name, value, facts):
    with raises_naming(ValueError, *facts):
        unchecked(CRFParameters.__init__)(
            object.__new__(CRFParameters), **{**asdict(PSA), name: value}
        )


def test_presets_are_those_of_the_command_line():
    assert CRFParameters.preset("psa") == PSA
    for name in options("crf"):
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            node = compose("config", ["experiment=cam", f"crf={name}"]).crf
        assert asdict(CRFParameters.preset(name)) | {"engine": "auto"} == dict(node)


def test_a_preset_can_be_given_by_name():
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    unary = generator.random((2, 12, 16), dtype=np.float32)
    by_name = mean_field(image, unary, "irn")
    assert np.array_equal(by_name, mean_field(image, unary, CRFParameters.preset("irn")))
    assert not np.allclose(by_name, mean_field(image, unary, PSA))


def test_an_unknown_preset_is_answered_with_all_names():
    with raises_naming(InputError, "deeplab", "psa", "irn", "deeplab_v1", "deeplab_v2"):
        CRFParameters.preset("deeplab")
