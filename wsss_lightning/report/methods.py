"""Methods (runs that differ only in their seed) and data sets (methods scored on the same data)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from wsss_lightning.report.runs import RunResult, Step
from wsss_lightning.results.schema import Protocol
from wsss_lightning.steps.labels import step_info


@dataclass(frozen=True)
class Method:
    """Runs that differ only in their seed.

    Args:
        name: short and unique, for charts and tables.
        runs: one for each seed.
        description: every override that distinguishes the method from the others.
    """

    name: str
    runs: list[RunResult]
    description: str

    def mious(self, step: Step) -> list[float]:
        """mIoU of every run that was scored at a step."""
        return [value for run in self.runs if (value := run.miou(step)) is not None]

    def scores(self, key: str) -> list[float]:
        """A score of every run that has it."""
        return [run.scores[key] for run in self.runs if key in run.scores]

    @property
    def protocol(self) -> Protocol:
        """Protocol of the first run."""
        return self.runs[0].results.protocol

    @property
    def supervision(self) -> str:
        """Supervision of the method: `tags`, `boxes` or `masks`."""
        return self.runs[0].results.supervision

    @property
    def uses_train_masks(self) -> bool:
        """Whether true masks of the training split are used for more than scoring."""
        return self.protocol.train_masks_used_for != ["scoring"]

    def steps(self) -> list[Step]:
        """Steps with an mIoU in any run, in the order of the pipeline; without steps of rounds."""
        parts = {tuple(key.split("/")) for run in self.runs for key in run.scores}
        scored = {(key[0], key[1]) for key in parts if len(key) == 3 and key[2] == "miou"}
        return in_order(scored)

    def rounds(self) -> dict[Step, list[tuple[int, list[float]]]]:
        """(round, mIoU of all runs) of each step that is made in rounds."""
        rounds: dict[Step, list[tuple[int, list[float]]]] = {}
        for key in dict.fromkeys(key for run in self.runs for key in run.scores):
            match = re.fullmatch(r"round_(\d+)/([^/]+)/([^/]+)/miou", key)
            if match:
                step = (match[2], match[3])
                rounds.setdefault(step, []).append((int(match[1]), self.scores(key)))
        return {step: sorted(points) for step, points in rounds.items()}


@dataclass(frozen=True)
class DataSet:
    """Methods that were scored on the same images and true masks.

    Args:
        name: name of the data set.
        methods: one or more.
        notes: warnings about the runs.
        title: unique name: the name, and the differences from other data of this name.
    """

    name: str
    methods: list[Method]
    notes: list[str] = field(default_factory=list)
    title: str = ""

    @property
    def train(self) -> str:
        """Name of the training split."""
        return self.methods[0].protocol.splits.train

    @property
    def val(self) -> str | None:
        """Name of the validation split; None if there is none."""
        return self.methods[0].protocol.splits.val

    @property
    def splits(self) -> list[str]:
        """Training and validation split, each once."""
        return list(dict.fromkeys(split for split in (self.train, self.val) if split is not None))

    @property
    def file_name(self) -> str:
        """The title as the beginning of a file's name."""
        return file_name(self.title or self.name)

    def main_step(self) -> Step | None:
        """The step at which methods are compared: the last one that two of them have.

        Steps on the validation split come last, and results of a whole pipeline are preferred.
        """
        scored = {step for method in self.methods for step in method.steps()}
        latest_first = list(reversed(in_order(scored)))
        steps = [
            step for split in reversed(self.splits) for step in latest_first if step[1] == split
        ]
        final = [
            step for step in steps if step[0].startswith("segmentation") or step[1] == self.train
        ]
        counts = {step: sum(bool(method.mious(step)) for method in self.methods) for step in steps}
        needed = min(2, len(self.methods))
        return next((step for step in [*final, *steps] if counts[step] >= needed), None)


def in_order(steps: Sequence[Step] | set[Step]) -> list[Step]:
    """Steps in the order of a pipeline."""
    return sorted(steps, key=lambda step: (step_info(step[0]).order, *step))


def file_name(text: str) -> str:
    """Text as part of a file's name: letters of all scripts and digits, without separators."""
    return re.sub(r"[^\w.+=-]+", "-", text).strip("-.") or "unnamed"
