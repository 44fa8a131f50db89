"""Parameters of the two kernels."""

import math
import numbers
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import yaml

from wsss_lightning.config.folder import conf_folder
from wsss_lightning.errors import InputError, did_you_mean

# lowest and usual values; a kernel narrower than 0.1 reaches no neighbour, and a width of 1e-9
# would crash the lattice
_RANGES: Final[dict[str, tuple[float, str]]] = {
    "theta_alpha": (0.1, "50 to 120 pixels"),
    "theta_beta": (0.1, "3 to 13 levels"),
    "theta_gamma": (0.1, "1 to 3 pixels"),
    "w1": (0, "4 to 10"),
    "w2": (0, "3"),
    "iterations": (0, "10"),
}


@dataclass(frozen=True)
class CRFParameters:
    """Kernel widths and weights, named as in the paper.

    k(i, j) = w1 exp(-|p|^2 / 2 theta_alpha^2 - |I|^2 / 2 theta_beta^2)
    + w2 exp(-|p|^2 / 2 theta_gamma^2), with p the difference of positions in pixels and I that of
    colours in levels 0..255.

    Args:
        theta_alpha: width of the appearance kernel in space, pixels, 0.1 or more.
        theta_beta: its width in colour, levels, 0.1 or more.
        theta_gamma: width of the smoothness kernel, pixels, 0.1 or more.
        w1: weight of the appearance kernel; 0 leaves it out.
        w2: weight of the smoothness kernel; 0 leaves it out.
        iterations: number of iterations of mean field; 0 leaves softmax(-unary).

    Raises:
        ValueError: a width is below 0.1, a weight is negative, a value is not finite, or the
            number of iterations is not a whole number.

    Source: Kraehenbuehl & Koltun 2011, eq. 3.
    """

    theta_alpha: float
    theta_beta: float
    theta_gamma: float
    w1: float
    w2: float
    iterations: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            lowest, usual = _RANGES[name]
            whole = name == "iterations"
            kind = numbers.Integral if whole else numbers.Real
            if not (isinstance(value, kind) and math.isfinite(value) and float(value) >= lowest):
                raise ValueError(
                    f"{name} must be a {'whole' if whole else 'finite'} number of {lowest} or "
                    f"more, got {value}; {usual} is usual"
                )

    @classmethod
    def preset(cls, name: str) -> "CRFParameters":
        """Published parameters, as `crf=NAME` of the command line.

        Args:
            name: of a file in conf/crf, such as `psa`, `irn` or `deeplab_v2`.

        Raises:
            InputError: there is no such preset.
        """
        values = _preset(name)
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    def too_narrow(self, height: int, width: int) -> str:
        """Error message for kernels whose lattice points cannot be numbered with 64 bits."""
        return (
            f"theta_alpha {self.theta_alpha}, theta_beta {self.theta_beta} and theta_gamma "
            f"{self.theta_gamma} of the CRF are too narrow for an image of {height}x{width} "
            "pixels: the lattice would have too many points; set larger widths."
        )


def _preset(name: str) -> dict[str, Any]:
    """Values of a file in conf/crf, and of the files that its defaults name."""
    files = {path.stem: path for path in (conf_folder() / "crf").glob("*.yaml")}
    if name not in files:
        hint = did_you_mean(name, files)
        known = "" if hint.startswith("known") else f" known are {', '.join(sorted(files))}."
        raise InputError(f"{name} is no preset of the CRF; {hint}{known}")
    values = yaml.safe_load(files[name].read_text(encoding="utf-8"))
    inherited: dict[str, Any] = {}
    for other in values.pop("defaults", ()):
        inherited |= _preset(other)
    return inherited | values
