import inspect
from dataclasses import asdict

import pytest
from facts import raises_naming

from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError

PSA = CRFParameters(theta_alpha=80, theta_beta=13, theta_gamma=3, w1=10, w2=3, iterations=10)


def unchecked(function):
    """Without the checks of types that only the tests add."""
    return inspect.unwrap(function)


@pytest.mark.parametrize(
    ("name", "value", "facts"),
    [
        ("theta_alpha", -80.0, ["crf.theta_alpha", "-80.0", 0.1]),
        ("theta_beta", 0, ["crf.theta_beta", 0, 3, 13]),
        ("theta_gamma", 1e-9, ["crf.theta_gamma", "1e-09"]),
        ("w1", float("nan"), ["crf.w1", "nan", 0]),
        ("w2", float("inf"), ["crf.w2", "inf"]),
        ("iterations", -1, ["crf.iterations", -1, 0]),
        ("iterations", 2.5, ["crf.iterations", 2.5, 0]),
        ("theta_alpha", "80", ["crf.theta_alpha", "'80'"]),
    ],
)
def test_parameters_without_meaning_are_refused(name, value, facts):
    with raises_naming(InputError, *facts):
        unchecked(CRFParameters.__init__)(
            object.__new__(CRFParameters), **{**asdict(PSA), name: value}
        )
