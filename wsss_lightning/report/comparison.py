"""Compares the methods of a data set: scores, verdicts, error types and annotation costs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.evaluation.error_analysis import WRONG
from wsss_lightning.evaluation.pixel_counts import PixelCounts
from wsss_lightning.report.annotation_cost import Costs, hours
from wsss_lightning.report.methods import DataSet, Method, in_order
from wsss_lightning.report.runs import RunResult, Step
from wsss_lightning.report.verdict import (
    Estimate,
    Verdict,
    compare,
    dataset_miou,
    describe,
    draw_weights,
    estimate,
    resampled_miou,
)
from wsss_lightning.steps.preview_images import Ranking, ranked_notes

ERROR_NAMES = tuple(error_type.name.lower() for error_type in WRONG)


@dataclass(frozen=True)
class RankedMethod:
    """A method's mIoU at the compared step, and its verdict against the baseline.

    Args:
        method: method that is ranked.
        estimate: estimate of its mIoU.
        verdict: None for the baseline, and where pixel counts are missing.
        description: the verdict in words, or empty.
    """

    method: Method
    estimate: Estimate
    verdict: Verdict | None
    description: str


@dataclass(frozen=True)
class ErrorBreakdown:
    """Errors of a method by type, summed over its runs.

    Args:
        share: share of all pixels, by error type (`WRONG`).
        gain: mIoU gained if all pixels of an error type were right.
        class_gain: the same for each label's IoU; NaN for labels that do not occur.
        labels: their names.
    """

    share: list[float]
    gain: list[float]
    class_gain: list[list[float]]
    labels: list[str]


class Comparison:
    """Contents of a report on a data set, except images.

    Args:
        data: its methods.
        baseline: name of the method that the others are compared with; None: `cam` if there is
            one, else the first method.
        costs: costs of annotation.
        step: step at which methods are compared; None: the last one that two methods have.

    Raises:
        InputError: there is no such baseline.
    """

    def __init__(
        self, data: DataSet, baseline: str | None, costs: Costs, step: Step | None = None
    ) -> None:
        self.data, self.costs = data, costs
        self.step = step or data.main_step()
        self.notes = list(data.notes)
        names = [method.name for method in data.methods]
        if baseline is not None and baseline not in names:
            raise InputError(
                f"baseline is {baseline}, but {data.title} has no such method; "
                f"{did_you_mean(baseline, names)}"
            )
        self.baseline = data.methods[names.index(baseline or default_baseline(data, self.step))]
        self._pixel_counts: dict[tuple[str, Step], list[PixelCounts]] = {}

    def pixel_counts(self, method: Method, step: Step) -> list[PixelCounts]:
        """Pixel counts of all runs of a method; empty if those of any run are missing."""
        key = (method.name, step)
        if key not in self._pixel_counts:
            scored = [run for run in method.runs if run.miou(step) is not None]
            try:
                of_runs = [_load_pixel_counts(run, step) for run in scored]
            except InputError as error:
                self.notes.append(f"Pixel counts of {method.name} are left out: {error}")
                of_runs = []
            present = [counts for counts in of_runs if counts is not None]
            self._pixel_counts[key] = present if len(present) == len(of_runs) else []
        return self._pixel_counts[key]

    @cached_property
    def image_names(self) -> list[str]:
        """Names of the images that the baseline was scored on at the step."""
        if self.step is None:
            return []
        counts = self.pixel_counts(self.baseline, self.step)
        return counts[0].names if counts else []

    @cached_property
    def draws(self) -> dict[str, np.ndarray]:
        """mIoU (s r) of each method's runs on the same resamples of the images."""
        if self.step is None or not self.image_names:
            return {}
        weights, draws = draw_weights(len(self.image_names)), {}
        for method in self.data.methods:
            of_runs = self.pixel_counts(method, self.step)
            if of_runs and all(counts.names == self.image_names for counts in of_runs):
                mious = [resampled_miou(weights, counts.matrices) for counts in of_runs]
                draws[method.name] = np.stack(mious)
        return draws

    @cached_property
    def ranking(self) -> list[RankedMethod]:
        """Methods, best first; intervals are wide enough for all verdicts to hold at 95 %."""
        step = self.step
        if step is None:
            return []
        scored = [method for method in self.data.methods if method.mious(step)]
        level = 1 - 0.05 / max(1, len(scored) - 1)
        ranked = []
        for method in scored:
            value = estimate(method.mious(step), self.draws.get(method.name))
            verdict = self._verdict(method, step, level)
            text = "" if verdict is None else describe(method.name, self.baseline.name, verdict)
            ranked.append(RankedMethod(method, value, verdict, text))
        return sorted(ranked, key=lambda one: -one.estimate.mean)

    def _verdict(self, method: Method, step: Step, level: float) -> Verdict | None:
        base, draws = self.baseline, self.draws
        if method is base or not base.mious(step):
            return None
        if method.name not in draws or base.name not in draws:
            self.notes.append(
                f"{method.name} and {base.name} are not compared, because pixel counts of the same "
                "images are missing for one of them."
            )
            return None
        pairs = list(zip(method.runs, base.runs, strict=False))
        same_seeds = [run.seed for run in method.runs] == [run.seed for run in base.runs]
        paired = same_seeds and all(one.trainings & other.trainings for one, other in pairs)
        both = (draws[method.name], draws[base.name])
        return compare(method.mious(step), base.mious(step), both, bool(paired), level)

    def estimate_of(self, method: Method, key: str) -> Estimate | None:
        """Mean of a score over seeds, with its interval over seeds; None if it was not scored."""
        values = method.scores(key)
        return estimate(values, None) if values else None

    def error_breakdown(self, method: Method, step: Step) -> ErrorBreakdown | None:
        """Errors of a method by type; None if pixel counts are missing."""
        of_runs = self.pixel_counts(method, step)
        if not of_runs:
            return None
        matrix = np.sum([counts.matrices.sum(0) for counts in of_runs], axis=0).astype(float)
        by_type = np.sum([counts.by_error_type for counts in of_runs], axis=0).astype(float)
        corrected = np.stack([matrix - wrong for wrong in by_type])
        labels = matrix.shape[0]
        corrected[:, range(labels), range(labels)] += by_type.sum(-1)
        return ErrorBreakdown(
            share=(by_type.sum((1, 2)) / matrix.sum()).tolist(),
            gain=(dataset_miou(corrected) - dataset_miou(matrix[None])).tolist(),
            class_gain=(_ious(corrected) - _ious(matrix[None])).tolist(),
            labels=_labels(method),
        )

    def class_iou(self, method: Method, step: Step) -> dict[str, float]:
        """Mean IoU over runs of each label that occurs in the split."""
        values = {
            name: method.scores(f"{step[0]}/{step[1]}/iou_{name}") for name in _labels(method)
        }
        return {name: float(np.mean(ious)) for name, ious in values.items() if ious}

    def hours(self, method: Method) -> dict[str, float]:
        """Hours of annotation by kind."""
        return hours(method.runs[0].results.annotation, self.costs)

    def training_hours(self, method: Method) -> float:
        """Hours of annotation without held-out masks, which only choose a threshold."""
        return sum(value for kind, value in self.hours(method).items() if kind != "held_out")

    def difficulty(self, step: Step) -> dict[str, float]:
        """mIoU of each image over the labels it shows, mean of all runs, by name."""
        mious: dict[str, list[float]] = {}
        for method in self.data.methods:
            for counts in self.pixel_counts(method, step):
                values = dataset_miou(counts.matrices.astype(float)).tolist()
                for name, value in zip(counts.names, values, strict=True):
                    mious.setdefault(name, []).append(value)
        means = {name: float(np.mean(values)) for name, values in mious.items()}
        return {name: value for name, value in means.items() if not np.isnan(value)}

    def quality(self) -> dict[str, float]:
        """Estimated quality of each pseudo mask, mean of all runs that have it, by name."""
        values: dict[str, list[float]] = {}
        for run in (run for method in self.data.methods for run in method.runs):
            try:
                of_run = run.quality()
            except InputError as error:
                self.notes.append(f"Its quality is left out: {error}")
                continue
            for name, value in of_run.items():
                values.setdefault(name, []).append(value)
        return {name: float(np.mean(of_image)) for name, of_image in values.items()}


def ranking_of_images(comparison: Comparison, split: str) -> Ranking | None:
    """Images of a split by their mIoU, or by estimated quality; None if neither is known.

    The mIoU is that of the compared step, on another split that of the last step with pixel counts.
    The quality is that of the pseudo masks of the training split.
    """
    data = comparison.data
    steps = {step for method in data.methods for step in method.steps() if step[1] == split}
    last_first = in_order(steps)[::-1]
    if comparison.step in steps:
        last_first = [comparison.step]
    for step in last_first:
        difficulty = comparison.difficulty(step)
        if difficulty:
            return Ranking("mean mIoU", difficulty)
    quality = comparison.quality() if split == data.train else {}
    return Ranking("mean estimated quality", quality) if quality else None


def default_baseline(data: DataSet, step: Step | None) -> str:
    """Name of the CAM with the fewest overrides among the methods scored at a step, or the first.

    Args:
        data: its methods.
        step: step at which methods are compared; None: any.
    """
    scored = [method for method in data.methods if step is None or method.mious(step)]
    cams = [method for method in scored if method.name.startswith("cam")]
    return min(cams, key=lambda m: len(m.description)).name if cams else data.methods[0].name


def example_images(ranking: Ranking, count: int) -> dict[str, str]:
    """Images to show and their place in a ranking, worst first: half of them the worst.

    The others are evenly spaced, and the last one is the best.
    """
    ranked = ranking.order()
    worst = -(-count // 2)
    chosen = ranked
    if len(ranked) > count:
        rest = np.linspace(worst, len(ranked) - 1, count - worst + 1).round().astype(int)[1:]
        chosen = [ranked[i] for i in [*range(worst), *rest.tolist()]]
    places = ranked_notes(ranking, worst)
    return {name: places.get(name, ranking.text(name)) for name in chosen}


def _load_pixel_counts(run: RunResult, step: Step) -> PixelCounts | None:
    counts, labels = run.pixel_counts(step), 1 + len(run.results.classes)
    if counts is not None and counts.matrices.shape[1] != labels:
        raise InputError(
            f"{run.pixel_counts_file(step)} counts {counts.matrices.shape[1]} labels, but the run "
            f"has {labels}; repeat the run, which counts them again."
        )
    return counts


def _labels(method: Method) -> list[str]:
    return ["background", *method.runs[0].results.classes]


def _ious(matrices: np.ndarray) -> np.ndarray:
    labels = matrices.shape[1]
    right = matrices[..., :labels].diagonal(axis1=1, axis2=2)
    true, predicted = matrices.sum(-1), matrices[..., :labels].sum(1)
    union = true + predicted - right
    return np.where(true > 0, right / np.maximum(union, 1), np.nan)
