"""Finished runs, as they lie in their folders, put together by data set and method."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from wsss_lightning.data.tally import TALLY, Tally, load_tally
from wsss_lightning.errors import InputError

Step = tuple[str, str]
"""A step of a pipeline and a split, such as ("seeds", "train")."""

NEEDED: tuple[str, ...] = (
    "experiment",
    "data",
    "data_digest",
    "seed",
    "scores",
    "protocol",
    "annotation",
    "words",
)
NEEDED += ("reader", "versions", "seconds")

# words that say where and how a run is made, or that stand in their own column
APART: tuple[str, ...] = (
    "experiment",
    "seed",
    "runs",
    "workers",
    "trainer",
    "logger",
    "slots",
    "pictures",
    "name",
)
APART += ("data", "data.root", "pipeline.segment", "hydra")

LONGEST = 44  # letters of a method's name
ORDER: tuple[str, ...] = (
    "seeds",
    "none",
    "crf",
    "affinity",
    "affinity_crf",
    "irn",
    "irn_crf",
    "pseudo",
)
ORDER += ("segmentation", "segmentation_crf")


@dataclass(frozen=True)
class RunResult:
    """One finished run.

    Args:
        folder: holds results.json, and links to the stages.
        results: content of results.json.
    """

    folder: Path
    results: Mapping[str, Any]

    @property
    def experiment(self) -> str:
        return self.results["experiment"]

    @property
    def seed(self) -> int:
        return self.results["seed"]

    @property
    def scores(self) -> Mapping[str, float]:
        return self.results["scores"]

    @cached_property
    def words(self) -> dict[str, str]:
        """What was said on the command line, by key."""
        return dict(word.lstrip("+~").partition("=")[::2] for word in self.results["words"])

    def miou(self, step: Step) -> float | None:
        return self.scores.get(f"{step[0]}/{step[1]}/miou")

    def counts(self, step: Step) -> Path:
        """Where counts of each image are, if the run's stages are there."""
        return self.folder / f"{step[0]}_miou" / step[1] / TALLY

    def tally(self, step: Step) -> Tally | None:
        """Counts of each image, or None where the run's stages are not there (any more)."""
        path = self.counts(step)
        return load_tally(path.parent) if path.is_file() else None

    def curve(self, split: str) -> dict[str, list[float]] | None:
        """Figures of the seeds over thresholds, if the run has any."""
        path = self.folder / "seeds_miou" / split / "curve.json"
        return json.loads(path.read_text()) if path.is_file() else None

    @cached_property
    def trained(self) -> frozenset[str]:
        """Names of the trainings it links to; runs of one seed may share some."""
        if "trained" in self.results:  # kept without its links
            return frozenset(self.results["trained"])
        linked = (path.resolve().name for path in self.folder.iterdir() if path.is_symlink())
        return frozenset(name for name in linked if name.startswith("fit-"))


@dataclass(frozen=True)
class Method:
    """Runs that differ in their seed only.

    Args:
        name: to be read in charts and tables, of this method alone.
        runs: one a seed.
        words: all that tells it from the others.
    """

    name: str
    runs: list[RunResult]
    words: str

    def values(self, step: Step) -> list[float]:
        found = [run.miou(step) for run in self.runs]
        return [value for value in found if value is not None]

    def figures(self, key: str) -> list[float]:
        """A score of every run that has it."""
        return [run.scores[key] for run in self.runs if key in run.scores]

    @property
    def protocol(self) -> Mapping[str, Any]:
        return self.runs[0].results["protocol"]

    @property
    def reads_train_masks(self) -> bool:
        """It learns from true masks of the training split, or takes tags or boxes from them."""
        return self.protocol.get("true_masks_of_train") != "scoring only"

    def steps(self) -> list[Step]:
        """Steps with an mIoU, in the order in which they are made; rounds apart."""
        found = {tuple(key.split("/")[:-1]) for key in self.runs[0].scores if key.endswith("/miou")}
        named = [(step[0], step[1]) for step in found if len(step) == 2]
        return sorted(named, key=lambda step: (_rank(step[0]), step[1]))

    def rounds(self) -> dict[Step, list[tuple[int, list[float]]]]:
        """mIoU over rounds, of each step that is made in rounds: (round, values of all runs)."""
        found: dict[Step, list[tuple[int, list[float]]]] = {}
        for key in self.runs[0].scores:
            parts = key.split("/")
            if len(parts) == 4 and parts[0].startswith("round_") and parts[3] == "miou":
                at = (int(parts[0].removeprefix("round_")), self.figures(key))
                found.setdefault((parts[1], parts[2]), []).append(at)
        return {step: sorted(points) for step, points in found.items()}


@dataclass(frozen=True)
class DataSet:
    """Methods that were scored on the same images."""

    name: str
    methods: list[Method]
    notes: list[str] = field(default_factory=list)

    @property
    def splits(self) -> tuple[str, str]:
        told = self.methods[0].protocol["splits"]
        return told["train"], told["val"]

    def main_step(self) -> Step | None:
        """The step on which methods are compared: the last that two of them have, on val first."""
        train, val = self.splits
        steps = [(name, split) for split in (val, train) for name in reversed(ORDER)]
        # what comes out of the whole pipeline, before what comes out of its parts
        final = [step for step in steps if step[0].startswith("segmentation") or step[1] == train]
        counts = {step: sum(bool(m.values(step)) for m in self.methods) for step in steps}
        wanted = min(2, len(self.methods))
        return next((step for step in [*final, *steps] if counts[step] >= wanted), None)


def find_runs(paths: Iterable[Path]) -> list[RunResult]:
    """Runs whose results lie in these folders or below them.

    Raises:
        InputError: a folder is not there, none holds results, or a results.json cannot be used.
    """
    found: dict[Path, RunResult] = {}
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path} is no folder; give folders of runs, such as runs/my_sweep.")
        for folder in _folders(path):
            found[folder.resolve()] = RunResult(folder, _read(folder / "results.json"))
    if not found:
        raise InputError(
            "no results.json lies in these folders; give those of finished runs, such as runs."
        )
    return list(found.values())


def _folders(path: Path) -> list[Path]:
    found = []
    for here, below, files in os.walk(path):
        if "results.json" in files:
            found.append(Path(here))
            below.clear()
        # stages are thousands of files, and no runs
        below[:] = sorted(name for name in below if name != "stages")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); delete it and repeat the run, which finds its "
            "stages and writes it anew."
        ) from error
    missing = [key for key in NEEDED if not isinstance(results, dict) or key not in results]
    if missing:
        raise InputError(
            f"{path} has no {missing[0]}; it was written by another version of wsss_lightning. "
            "Repeat its run with this one, or leave it out."
        )
    return results


def group(runs: Sequence[RunResult]) -> list[DataSet]:
    """Runs by what they were scored on, and by what distinguishes them but for the seed."""
    by_data: dict[tuple[str, ...], list[RunResult]] = {}
    for run in runs:
        # the last part is of the true masks
        truth = run.results["data_digest"].rpartition("-")[2]
        splits = run.results["protocol"]["splits"]
        key = (run.results["data"], splits["train"], splits["val"], truth)
        by_data.setdefault(key, []).append(run)
    return [_data_set(key[0], members) for key, members in by_data.items()]


def _data_set(name: str, runs: Sequence[RunResult]) -> DataSet:
    told = [{key: value for key, value in run.words.items() if not apart(key)} for run in runs]
    keys = sorted({key for words in told for key in words})
    differ = [key for key in keys if len({words.get(key) for words in told}) > 1]
    differ.sort(key=lambda key: "." in key)  # choices of a whole part first
    methods: dict[tuple[str, ...], list[RunResult]] = {}
    for run, words in zip(runs, told, strict=True):
        own = [f"{_short(key, differ)}={words[key]}" for key in differ if key in words]
        methods.setdefault((run.experiment, *own), []).append(run)
    kept, notes = [], []
    for method, short in zip(methods, _names(list(methods)), strict=True):
        members, found = _one_a_seed(short, methods[method])
        kept.append(Method(short, members, " ".join(method)))
        notes += found
    return DataSet(name, kept, notes)


def _names(methods: Sequence[tuple[str, ...]]) -> list[str]:
    """Of each method, short enough for a chart: what does not fit is counted."""
    names: list[str] = []
    for words in methods:
        count = len(words)
        while count > 1 and len(" ".join(words[:count])) > LONGEST:
            count -= 1
        left = [f"+{len(words) - count}"] if count < len(words) else []
        name = " ".join([*words[:count], *left])
        like = sum(other == name or other.startswith(f"{name} (") for other in names)
        names.append(f"{name} ({like + 1})" if like else name)
    return names


def apart(key: str) -> bool:
    """Whether a word says where or how a run is made, or stands in a column of its own."""
    return key in APART or key.startswith(("hydra.", "trainer.", "logger.", "hydra/"))


def _short(key: str, keys: Sequence[str]) -> str:
    """The last part of a key, where that names only one of them."""
    last = key.rpartition(".")[2]
    return last if [other.rpartition(".")[2] for other in keys].count(last) == 1 else key


def _one_a_seed(method: str, runs: Sequence[RunResult]) -> tuple[list[RunResult], list[str]]:
    """By seed, and notes; of several runs of one, that written last.

    A run that stops earlier, of the same stages, says nothing that the longer one does not.
    """
    chosen: dict[int, RunResult] = {}
    twice = set()
    for run in sorted(runs, key=lambda run: (run.folder / "results.json").stat().st_mtime_ns):
        other = chosen.setdefault(run.seed, run)
        if other is run:
            continue
        if _agree(run, other):
            chosen[run.seed] = max(other, run, key=lambda one: len(one.scores))
        else:
            chosen[run.seed] = run
            twice.add(run.seed)
    kept = [run for _, run in sorted(chosen.items())]
    codes = {run.results["versions"].get("code") for run in kept}
    notes = []
    if len(codes) > 1:
        notes.append(f"Runs of {method} were made by {len(codes)} versions of the code.")
    if twice:
        notes.append(
            f"{method} has several runs of seed {', '.join(map(str, sorted(twice)))}; the one that "
            "was finished last counts."
        )
    return kept, notes


def _agree(one: RunResult, other: RunResult) -> bool:
    """One of them has all scores of the other, and the same."""
    common = one.scores.keys() & other.scores.keys()
    whole = len(common) == min(len(one.scores), len(other.scores))
    return whole and all(one.scores[key] == other.scores[key] for key in common)


def _rank(step: str) -> int:
    return ORDER.index(step) if step in ORDER else len(ORDER)
