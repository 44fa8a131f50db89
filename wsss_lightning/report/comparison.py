"""What is said of the methods of a data set: figures, verdicts, causes of mistakes, costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.evaluation.error_analysis import WRONG
from wsss_lightning.evaluation.pixel_counts import PixelCounts
from wsss_lightning.report.annotation_cost import Costs, hours
from wsss_lightning.report.runs import DataSet, Method, RunResult, Step
from wsss_lightning.report.verdict import (
    Figure,
    Verdict,
    compare,
    dataset_miou,
    draw_weights,
    figure,
    in_words,
    resampled_miou,
)


@dataclass(frozen=True)
class RankedMethod:
    """A method's figure at the step that is compared, and how it stands against the baseline."""

    method: Method
    figure: Figure
    verdict: Verdict | None
    words: str


@dataclass(frozen=True)
class Anatomy:
    """Mistakes of a method, summed over its runs.

    Args:
        share: of all pixels, by cause (`anatomy.WRONG`).
        gain: mIoU that mending all pixels of a cause would bring.
        class_gain: the same of each label's IoU; NaN for labels that the split does not show.
        labels: their names.
    """

    share: list[float]
    gain: list[float]
    class_gain: list[list[float]]
    labels: list[str]


class Comparison:
    """Everything that the page says of a data set.

    Args:
        data: its methods.
        baseline: name of the method that the others are held against; None: `cam` where there is
            one, else the first.
        costs: of annotation.
        step: that is compared; None: the last that two methods have.

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
        self.baseline = data.methods[names.index(baseline or _usual(data, self.step))]
        self._tallies: dict[tuple[str, Step], list[PixelCounts]] = {}

    def tallies(self, method: Method, step: Step) -> list[PixelCounts]:
        """Of all its runs, or none where a run's are not there."""
        key = (method.name, step)
        if key not in self._tallies:
            try:
                found = [
                    self._tally(run, step) for run in method.runs if run.miou(step) is not None
                ]
            except InputError as error:
                self.notes.append(f"Pixel counts of {method.name} are left out: {error}")
                found = []
            there = [tally for tally in found if tally is not None]
            self._tallies[key] = there if len(there) == len(found) else []
        return self._tallies[key]

    def _tally(self, run: RunResult, step: Step) -> PixelCounts | None:
        tally, labels = run.tally(step), 1 + len(run.results["reader"]["classes"])
        if tally is not None and tally.matrices.shape[1] != labels:
            raise InputError(
                f"{run.counts(step)} counts {tally.matrices.shape[1]} labels, but the run has "
                f"{labels}; repeat the run, which counts them again."
            )
        return tally

    @cached_property
    def names(self) -> list[str]:
        """Of the images that were scored at the step, as the baseline has them."""
        if self.step is None:
            return []
        found = self.tallies(self.baseline, self.step)
        return found[0].names if found else []

    @cached_property
    def draws(self) -> dict[str, np.ndarray]:
        """mIoU (s r) of every method's runs, over the same resamples."""
        if self.step is None or not self.names:
            return {}
        weights, found = draw_weights(len(self.names)), {}
        for method in self.data.methods:
            tallies = self.tallies(method, self.step)
            if tallies and all(tally.names == self.names for tally in tallies):
                drawn = [resampled_miou(weights, tally.matrices) for tally in tallies]
                found[method.name] = np.stack(drawn)
        return found

    @cached_property
    def judged(self) -> list[RankedMethod]:
        """Methods, best first; the level of intervals makes 95 % hold for all verdicts at once."""
        step = self.step
        if step is None:
            return []
        there = [method for method in self.data.methods if method.values(step)]
        level = 1 - 0.05 / max(1, len(there) - 1)
        found = []
        for method in there:
            shown = figure(method.values(step), self.draws.get(method.name))
            verdict = self._verdict(method, step, level)
            words = "" if verdict is None else in_words(method.name, self.baseline.name, verdict)
            found.append(RankedMethod(method, shown, verdict, words))
        return sorted(found, key=lambda judged: -judged.figure.mean)

    def _verdict(self, method: Method, step: Step, level: float) -> Verdict | None:
        base = self.baseline
        if method is base or not base.values(step):
            return None
        draws = self.draws
        if method.name not in draws or base.name not in draws:
            note = f"{method.name} and {base.name} are not held against each other: counts of the "
            self.notes.append(note + "same images are missing for one of them.")
            return None
        pairs = list(zip(method.runs, base.runs, strict=False))
        seeds = [run.seed for run in method.runs] == [run.seed for run in base.runs]
        shared = seeds and all(one.trained & other.trained for one, other in pairs)
        both = (draws[method.name], draws[base.name])
        return compare(method.values(step), base.values(step), both, bool(shared), level)

    def figure_of(self, method: Method, key: str) -> Figure | None:
        """Mean of a score over seeds, and its interval over seeds alone."""
        values = method.figures(key)
        return figure(values, None) if values else None

    def anatomy(self, method: Method, step: Step) -> Anatomy | None:
        tallies = self.tallies(method, step)
        if not tallies:
            return None
        matrix = np.sum([tally.matrices.sum(0) for tally in tallies], axis=0).astype(float)
        by_error_type = np.sum([tally.by_error_type for tally in tallies], axis=0).astype(float)
        mended = np.stack([matrix - wrong for wrong in by_error_type])
        labels = matrix.shape[0]
        mended[:, range(labels), range(labels)] += by_error_type.sum(-1)
        now, then = _ious(matrix[None]), _ious(mended)
        return Anatomy(
            share=(by_error_type.sum((1, 2)) / matrix.sum()).tolist(),
            gain=(dataset_miou(mended) - dataset_miou(matrix[None])).tolist(),
            class_gain=(then - now).tolist(),
            labels=self._labels(method),
        )

    def _labels(self, method: Method) -> list[str]:
        return ["background", *map(str, method.runs[0].results["reader"]["classes"])]

    def class_iou(self, method: Method, step: Step) -> dict[str, float]:
        """Mean IoU over runs of each label that the split shows."""
        names = self._labels(method)
        found = {name: method.figures(f"{step[0]}/{step[1]}/iou_{name}") for name in names}
        return {name: float(np.mean(values)) for name, values in found.items() if values}

    def hours(self, method: Method) -> dict[str, float]:
        return hours(method.runs[0].results["annotation"], self.costs)

    def hours_learnt_from(self, method: Method) -> float:
        """Without held-out masks: the figures of the page are those of fixed thresholds."""
        return sum(value for kind, value in self.hours(method).items() if kind != "held_out")

    def difficulty(self, step: Step) -> list[tuple[str, float]]:
        """Images and their mIoU, over the labels an image shows, mean of all runs; worst first."""
        found: dict[str, list[float]] = {}
        for method in self.data.methods:
            for tally in self.tallies(method, step):
                values = dataset_miou(tally.matrices.astype(float))
                for name, value in zip(tally.names, values.tolist(), strict=True):
                    found.setdefault(name, []).append(value)
        means = {name: float(np.mean(values)) for name, values in found.items()}
        return sorted(
            ((name, value) for name, value in means.items() if value == value),
            key=lambda pair: (pair[1], pair[0]),
        )


def _usual(data: DataSet, step: Step | None) -> str:
    """CAM as it comes, of those that got as far as what is compared; or else the first."""
    there = [m for m in data.methods if step is None or m.values(step)]
    plain = [m for m in there if m.name.startswith("cam")]
    return min(plain, key=lambda m: len(m.words)).name if plain else data.methods[0].name


def probes(ranked: Sequence[tuple[str, float]], count: int) -> list[tuple[str, float]]:
    """Images to look at, worst first: half of them the worst, the rest spread over the others."""
    if len(ranked) <= count:
        return list(ranked)
    worst = -(-count // 2)
    rest = np.linspace(worst, len(ranked) - 1, count - worst + 1).round().astype(int)[1:]
    return [ranked[i] for i in [*range(worst), *rest.tolist()]]


def _ious(matrices: np.ndarray) -> np.ndarray:
    labels = matrices.shape[1]
    right = matrices[..., :labels].diagonal(axis1=1, axis2=2)
    true, named = matrices.sum(-1), matrices[..., :labels].sum(1)
    union = true + named - right
    return np.where(true > 0, right / np.maximum(union, 1), np.nan)


CAUSES = tuple(cause.name.lower() for cause in WRONG)
