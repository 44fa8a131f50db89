import inspect
from dataclasses import asdict

import pytest
from facts import raises_naming

from wsss_lightning.densecrf.parameters import CRFParameters

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
