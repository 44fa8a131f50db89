import inspect
from dataclasses import asdict

import pytest

from wsss_lightning.densecrf.parameters import CRFParameters

PSA = CRFParameters(theta_alpha=80, theta_beta=13, theta_gamma=3, w1=10, w2=3, iterations=10)


def unchecked(function):
    """Without the checks of types that only the tests add."""
    return inspect.unwrap(function)


@pytest.mark.parametrize(
    ("name", "value", "facts"),
    [
        ("theta_alpha", -80.0, r"^theta_alpha must be a finite number of 0\.1 or more, got -80\.0"),
        ("theta_beta", 0, r"^theta_beta must .*got 0; 3 to 13 levels"),
        ("theta_gamma", 1e-9, r"^theta_gamma must .*got 1e-09"),
        ("w1", float("nan"), r"^w1 must be a finite number of 0 or more, got nan"),
        ("w2", float("inf"), r"^w2 must .*got inf"),
        ("iterations", -1, r"^iterations must be a whole number of 0 or more, got -1"),
        ("iterations", 2.5, r"^iterations must be a whole number .*got 2\.5"),
        ("theta_alpha", "80", r"^theta_alpha must be a finite number .*got 80"),
    ],
)
def test_parameters_without_meaning_are_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        unchecked(CRFParameters.__init__)(
            object.__new__(CRFParameters), **{**asdict(PSA), name: value}
        )
