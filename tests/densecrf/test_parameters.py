import inspect
from dataclasses import asdict

import pytest

from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError

PSA = CRFParameters(theta_alpha=80, theta_beta=13, theta_gamma=3, w1=10, w2=3, iterations=10)


def unchecked(function):
    """Without the checks of types that only the tests add."""
    return inspect.unwrap(function)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("theta_alpha", -80.0, r"crf\.theta_alpha is -80\.0; set a finite number of 0\.1 or more"),
        ("theta_beta", 0, r"crf\.theta_beta is 0; .*\(3 to 13 levels is usual\)"),
        ("theta_gamma", 1e-9, r"crf\.theta_gamma is 1e-09"),
        ("w1", float("nan"), r"crf\.w1 is nan; set a finite number of 0 or more"),
        ("w2", float("inf"), r"crf\.w2 is inf"),
        ("iterations", -1, r"crf\.iterations is -1; set a whole number of 0 or more"),
        ("iterations", 2.5, r"crf\.iterations is 2\.5; set a whole number"),
        ("theta_alpha", "80", r"crf\.theta_alpha is '80'; set a finite number"),
    ],
)
def test_parameters_without_meaning_are_refused(name, value, message):
    with pytest.raises(InputError, match=message):
        unchecked(CRFParameters.__init__)(
            object.__new__(CRFParameters), **{**asdict(PSA), name: value}
        )
