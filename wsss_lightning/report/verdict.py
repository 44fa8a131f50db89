"""Is A better than B? Intervals that count both the images and the random seeds.

A figure over a split varies for two reasons: other images would have given another, and so would
another random seed. Images are drawn anew (a paired bootstrap: the same for both methods, and the
dataset-level mIoU of each draw), and seeds count by the spread of a method's runs.

Letters: r resamples, s runs (seeds), n images, k labels with background first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

RESAMPLES: Final = 1000
MANY: Final = 100
"""Runs of each method up to which the number that would decide is looked for."""


@dataclass(frozen=True)
class Figure:
    """A figure of one method, in [0, 1], with its interval; None where one run cannot tell."""

    mean: float
    low: float | None
    high: float | None
    runs: int


@dataclass(frozen=True)
class Verdict:
    """Whether the first method is better than the second.

    Args:
        difference: of the means over runs, in [-1, 1]; positive where the first is better.
        low, high: interval of the difference at `level`; None where seeds cannot be judged.
        decided: the interval is there and leaves out 0.
        runs: of each method, or of the one that has fewer.
        more_runs: further runs of each method that would decide, were the difference and the
            variances as found; None where it is decided, or where `MANY` runs of each would not.
        paired: seeds are compared one by one, as runs of one seed share a trained network.
        too_few_images: the variance over images alone leaves 0 in the interval, so that no number
            of runs would decide.
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
    """How often each image occurs in each resample of as many images."""
    rng = np.random.default_rng(seed)
    even = np.full(num_images, 1 / num_images)
    return rng.multinomial(num_images, even, resamples).astype(np.float64)


def resampled_miou(
    weights: Float[np.ndarray, "r n"], matrices: Int[np.ndarray, "n k _"]
) -> Float[np.ndarray, "r"]:
    """mIoU over the split of each resample: counts are added up first, and divided then.

    Args:
        matrices: of each image, pixels by true label (rows) and predicted label, with or without
            the column of predictions of IGNORE.

    Returns:
        Values in [0, 1], over the labels that a resample shows; NaN where it shows none.
    """
    count, labels, columns = matrices.shape
    added = weights @ matrices.reshape(count, -1).astype(np.float64)
    return dataset_miou(added.reshape(-1, labels, columns))


def dataset_miou(matrices: Float[np.ndarray, "r k _"]) -> Float[np.ndarray, "r"]:
    """As `metrics.miou`, of many splits at once."""
    labels = matrices.shape[1]
    square = matrices[..., :labels]
    right = square.diagonal(axis1=1, axis2=2)
    true, found = matrices.sum(-1), square.sum(1)
    shown = true > 0
    values = np.divide(right, true + found - right, out=np.zeros_like(right), where=shown)
    count = shown.sum(-1)
    return np.divide(values.sum(-1), count, out=np.full(len(count), np.nan), where=count > 0)


def figure(
    values: Sequence[float], draws: Float[np.ndarray, "s r"] | None, level: float = 0.95
) -> Figure:
    """Mean over runs, and its interval over images and seeds.

    Args:
        values: mIoU of each run over the split.
        draws: the same of resamples; None: the images are as they are, only seeds vary.
    """
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Figure(mean, None, None, count)
    spread = float(np.var(values, ddof=1))
    by_image = 0.0 if draws is None else float(np.nanvar(draws.mean(0)))
    half = _half(by_image, [(spread, count)], level)
    return Figure(mean, mean - half, mean + half, count)


def compare(
    first: Sequence[float],
    second: Sequence[float],
    draws: tuple[Float[np.ndarray, "s r"], Float[np.ndarray, "t r"]],
    paired: bool,
    level: float = 0.95,
) -> Verdict:
    """Judge the difference of two methods' mIoU.

    The variance of the difference is that over resampled images, of which both methods see the
    same, plus that over seeds, over their number. Its interval is Student's, with the degrees of
    freedom of Welch and Satterthwaite: two runs tell little of how far a third would lie.

    Args:
        first, second: mIoU of each method's runs over the split.
        draws: the same of resamples, of the same weights for both.
        paired: the i-th runs of both methods share what chance did to them.
        level: of the interval.

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
    half = _half(by_image, groups, level)
    decided = abs(difference) > half
    more = None if decided else _more(difference, by_image, groups, runs, level)
    limit = float(stats.norm.ppf((1 + level) / 2) * np.sqrt(by_image))  # of ever more runs
    # two runs can leave more open than there is
    low, high = max(difference - half, -1.0), min(difference + half, 1.0)
    return Verdict(
        difference, low, high, decided, runs, more, level, paired, abs(difference) <= limit
    )


def _half(by_image: float, groups: Sequence[tuple[float, int]], level: float) -> float:
    """Half the width of an interval; groups are (variance over runs, number of runs)."""
    parts = [variance / count for variance, count in groups]
    total = by_image + sum(parts)
    if total == 0:
        return 0.0
    # of the images' part they are as good as infinite
    doubt = sum(part**2 / (count - 1) for part, (_, count) in zip(parts, groups, strict=True))
    freedom = total**2 / doubt if doubt > 0 else np.inf
    return float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(total))


def _more(
    difference: float,
    by_image: float,
    groups: Sequence[tuple[float, int]],
    runs: int,
    level: float,
) -> int | None:
    for more in range(1, MANY - runs + 1):
        larger = [(variance, count + more) for variance, count in groups]
        if abs(difference) > _half(by_image, larger, level):
            return more
    return None


Kind = Literal["better", "worse", "open"]


def kind(verdict: Verdict) -> Kind:
    if not verdict.decided:
        return "open"
    return "better" if verdict.difference > 0 else "worse"


def in_words(first: str, second: str, verdict: Verdict) -> str:
    """The verdict in one or two sentences, in points of mIoU."""
    points = f"{100 * abs(verdict.difference):.1f}"
    if verdict.low is None or verdict.high is None:
        leads = first if verdict.difference >= 0 else second
        lead = f"{leads} leads by {points} mIoU"
        if points == "0.0":
            lead = "The difference is below 0.05 mIoU"
        return (
            f"{first} against {second}: not decided. {lead}, but the variation between seeds "
            "cannot be estimated from one run; at least 2 seeds of each are needed."
        )
    ends = sorted((abs(verdict.low), abs(verdict.high)))
    share = f"{100 * verdict.level:.3g} %"
    seeds = f"{verdict.runs} seeds"
    if verdict.decided:
        word = "better" if verdict.difference > 0 else "worse"
        return (
            f"{first} is {word} than {second} by {points} mIoU ({share} interval "
            f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}, {seeds})."
        )
    interval = f"{100 * verdict.low:+.1f} to {100 * verdict.high:+.1f}"
    return (
        f"{first} against {second}: not decided. {100 * verdict.difference:+.1f} mIoU "
        f"({share} interval {interval}, {seeds}). {_what_would_decide(verdict, points)}"
    )


def _what_would_decide(verdict: Verdict, points: str) -> str:
    if verdict.more_runs is not None:
        seeds = "seed" if verdict.more_runs == 1 else "seeds"
        return (
            f"About {verdict.more_runs} more {seeds} of each would decide it, if the difference "
            "and the spread over seeds stay as they are."
        )
    if verdict.too_few_images:
        return (
            f"The difference is {points} points; on so few images no number of seeds would be "
            "enough to tell it from zero."
        )
    return (
        f"The difference is {points} points; even {max(MANY, verdict.runs)} seeds of each would "
        "not be enough to tell it from zero."
    )
