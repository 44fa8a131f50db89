"""Is method A better than method B? Intervals over both images and random seeds.

A score varies with the images of the split and with the random seed. The variance over images comes
from a paired bootstrap: both methods are scored on the same resamples, by the dataset-level mIoU of
each. The variance over seeds is that of a method's runs.

Letters: r resamples, s runs (seeds), n images, k labels with background first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

RESAMPLES: Final = 1000
MAX_RUNS: Final = 100
"""Largest number of runs of each method when predicting how many would decide."""


@dataclass(frozen=True)
class Estimate:
    """Mean score of a method in [0, 1] with its interval, which is None for a single run."""

    mean: float
    low: float | None
    high: float | None
    runs: int


@dataclass(frozen=True)
class Verdict:
    """Whether the first method is better than the second.

    Args:
        difference: difference of the means over runs, in [-1, 1]; positive if the first is better.
        low, high: interval of the difference at `level`; None if a method has a single run.
        decided: whether the interval exists and excludes 0.
        runs: number of runs of the method that has fewer.
        more_runs: further runs of each method that would decide, if the difference and the
            variances stay as they are; None if it is decided, or if `MAX_RUNS` would not suffice.
        level: level of the interval.
        paired: whether runs are compared seed by seed, because they share a trained network.
        too_few_images: whether the variance over images alone puts 0 into the interval, so that no
            number of runs would decide.
    """

    difference: float
    low: float | None
    high: float | None
    decided: bool
    runs: int
    more_runs: int | None
    level: float
    paired: bool
    too_few_images: bool = False


def draw_weights(
    num_images: int, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "r n"]:
    """Number of times that each image occurs in each bootstrap resample.

    Args:
        num_images: n.
        resamples: r.
        seed: seed of the resampling.
    """
    rng = np.random.default_rng(seed)
    even = np.full(num_images, 1 / num_images)
    return rng.multinomial(num_images, even, resamples).astype(np.float64)


def resampled_miou(
    weights: Float[np.ndarray, "r n"], matrices: Int[np.ndarray, "n k _"]
) -> Float[np.ndarray, "r"]:
    """Dataset-level mIoU of each resample: counts are summed before they are divided.

    Args:
        weights: number of times that each image occurs in each resample.
        matrices: for each image, pixels by true label (rows) and predicted label, with or
            without a last column of predictions of IGNORE.

    Returns:
        Values in [0, 1] over the labels that occur in a resample; NaN if none occurs.
    """
    count, labels, columns = matrices.shape
    added = weights @ matrices.reshape(count, -1).astype(np.float64)
    return dataset_miou(added.reshape(-1, labels, columns))


def dataset_miou(matrices: Float[np.ndarray, "r k _"]) -> Float[np.ndarray, "r"]:
    """`metrics.miou` of many confusion matrices at once."""
    labels = matrices.shape[1]
    square = matrices[..., :labels]
    right = square.diagonal(axis1=1, axis2=2)
    true, predicted = matrices.sum(-1), square.sum(1)
    occurs = true > 0
    values = np.divide(right, true + predicted - right, out=np.zeros_like(right), where=occurs)
    count = occurs.sum(-1)
    return np.divide(values.sum(-1), count, out=np.full(len(count), np.nan), where=count > 0)


def estimate(
    values: Sequence[float], draws: Float[np.ndarray, "s r"] | None, level: float = 0.95
) -> Estimate:
    """Mean over runs, and its interval over images and seeds.

    Args:
        values: mIoU of each run over the split.
        draws: mIoU of each run on each resample; None: the interval is over seeds only.
        level: level of the interval.
    """
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Estimate(mean, None, None, count)
    spread = float(np.var(values, ddof=1))
    by_image = 0.0 if draws is None else float(np.nanvar(draws.mean(0)))
    half = _half_width(by_image, [(spread, count)], level)
    return Estimate(mean, mean - half, mean + half, count)


def compare(
    first: Sequence[float],
    second: Sequence[float],
    draws: tuple[Float[np.ndarray, "s r"], Float[np.ndarray, "t r"]],
    paired: bool,
    level: float = 0.95,
) -> Verdict:
    """Decide whether two methods differ in mIoU.

    The variance of the difference is its variance over the resamples, plus the variance over seeds
    divided by their number. The interval is Student's with the degrees of freedom of Welch and
    Satterthwaite, which makes it wide for few runs.

    Args:
        first, second: mIoU of each method's runs over the split.
        draws: mIoU of both methods' runs on the same resamples.
        paired: whether the i-th runs of both methods share a seed and a trained network.
        level: level of the interval.

    Raises:
        ValueError: paired methods have unequal numbers of runs.
    """
    if paired and len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} runs cannot be paired")
    difference = float(np.mean(first) - np.mean(second))
    by_image = float(np.nanvar(draws[0].mean(0) - draws[1].mean(0)))
    runs = min(len(first), len(second))
    if runs < 2:
        return Verdict(difference, None, None, False, runs, None, level, paired)
    if paired:
        groups = [(float(np.var(np.subtract(first, second), ddof=1)), runs)]
    else:
        groups = [(float(np.var(values, ddof=1)), len(values)) for values in (first, second)]
    half = _half_width(by_image, groups, level)
    decided = abs(difference) > half
    more = None if decided else _more_runs(difference, by_image, groups, runs, level)
    limit = float(stats.norm.ppf((1 + level) / 2) * np.sqrt(by_image))  # with infinitely many runs
    # with two runs the interval can exceed the range of mIoU
    low, high = max(difference - half, -1.0), min(difference + half, 1.0)
    return Verdict(
        difference, low, high, decided, runs, more, level, paired, abs(difference) <= limit
    )


def _half_width(by_image: float, groups: Sequence[tuple[float, int]], level: float) -> float:
    """Half the width of an interval; groups are (variance over runs, number of runs)."""
    parts = [variance / count for variance, count in groups]
    total = by_image + sum(parts)
    if total == 0:
        return 0.0
    # the images contribute practically infinite degrees of freedom
    runs_part = sum(part**2 / (count - 1) for part, (_, count) in zip(parts, groups, strict=True))
    freedom = total**2 / runs_part if runs_part > 0 else np.inf
    return float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(total))


def _more_runs(
    difference: float,
    by_image: float,
    groups: Sequence[tuple[float, int]],
    runs: int,
    level: float,
) -> int | None:
    """Further runs of each method that would decide; None if `MAX_RUNS` do not suffice."""
    for more in range(1, MAX_RUNS - runs + 1):
        larger = [(variance, count + more) for variance, count in groups]
        if abs(difference) > _half_width(by_image, larger, level):
            return more
    return None


def describe(first: str, second: str, verdict: Verdict) -> str:
    """The verdict in one or two sentences, in points of mIoU.

    Args:
        first: name of the first method.
        second: name of the second method.
        verdict: their comparison.
    """
    points = f"{100 * abs(verdict.difference):.1f}"
    if verdict.low is None or verdict.high is None:
        leader = first if verdict.difference >= 0 else second
        lead = f"{leader} leads by {points} mIoU"
        if points == "0.0":
            lead = "The difference is below 0.05 mIoU"
        return (
            f"{first} and {second}: undecided. {lead}, but the variation between seeds cannot be "
            "estimated from a single run; run at least 2 seeds of each."
        )
    ends = sorted((abs(verdict.low), abs(verdict.high)))
    level = f"{100 * verdict.level:.3g} %"
    seeds = f"{verdict.runs} seeds"
    if verdict.decided:
        word = "better" if verdict.difference > 0 else "worse"
        return (
            f"{first} is {word} than {second} by {points} mIoU ({level} interval "
            f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}, {seeds})."
        )
    interval = f"{100 * verdict.low:+.1f} to {100 * verdict.high:+.1f}"
    return (
        f"{first} and {second}: undecided. {100 * verdict.difference:+.1f} mIoU "
        f"({level} interval {interval}, {seeds}). {_outlook(verdict, points)}"
    )


def _outlook(verdict: Verdict, points: str) -> str:
    if verdict.more_runs is not None:
        seeds = "seed" if verdict.more_runs == 1 else "seeds"
        return (
            f"About {verdict.more_runs} more {seeds} of each would decide it, if the difference "
            "and the variation between seeds stay as they are."
        )
    if verdict.too_few_images:
        return (
            f"There are too few images to distinguish {points} points from zero, however many "
            "seeds are run."
        )
    return (
        f"Even {max(MAX_RUNS, verdict.runs)} seeds of each could not distinguish {points} points "
        "from zero."
    )
