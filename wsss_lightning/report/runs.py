"""Finished runs, as they lie in their folders, put together by data set and method."""

import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count as count_from
from pathlib import Path
from typing import Any

from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.pixel_counts import PIXEL_COUNTS_FILE, PixelCounts, load_pixel_counts
from wsss_lightning.steps.labels import STEP_NAMES
from wsss_lightning.training.trainer import NEUTRAL

Step = tuple[str, str]
"""A step of a pipeline and a split, such as ("seeds", "train")."""

NUMBER = (int, float)
NONE = type(None)
# what results.json must hold: a key, below others where there are dots, and types of its value
SHAPE: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("experiment", (str,)),
    ("data", (str,)),
    ("data_digest", (str,)),
    ("seed", (int,)),
    ("scores", (dict,)),
    ("protocol", (dict,)),
    ("protocol.trained_on", (str,)),
    ("protocol.splits", (dict,)),
    ("protocol.splits.train", (str,)),
    ("protocol.splits.val", (str, NONE)),
    ("annotation", (dict,)),
    ("annotation.tag_questions", (*NUMBER, NONE)),
    ("annotation.boxes", (*NUMBER, NONE)),
    ("annotation.masks", (*NUMBER, NONE)),
    ("annotation.objects_outlined", (*NUMBER, NONE)),
    ("annotation.held_out_masks", (*NUMBER, NONE)),
    ("words", (list,)),
    ("reader", (dict,)),
    ("reader.classes", (list,)),
    ("versions", (dict,)),
    ("seconds", (dict,)),
)

# words that say where and how a run is made, or that stand in their own column
APART: tuple[str, ...] = (
    "experiment",
    "seed",
    "runs",
    "workers",
    "trainer",
    "logger",
    "slots",
    "device_groups",
    "pictures",
    "num_previews",
    "name",
)
APART += ("data", "data.root", "data.train", "data.val", "pipeline.segment", "hydra")

# arguments of the trainer that say on what a run is made
MACHINE = ("accelerator", "devices", "strategy", "sync_batchnorm")

LONGEST = 44  # letters of a method's name
ORDER: tuple[str, ...] = tuple(STEP_NAMES)


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

    @cached_property
    def scores(self) -> Mapping[str, float]:
        """Scores that are numbers."""
        return {key: value for key, value in self.results["scores"].items() if _is_number(value)}

    @property
    def broken_scores(self) -> list[str]:
        """Keys of scores that are null, NaN or anything else that is no number."""
        return sorted(self.results["scores"].keys() - self.scores.keys())

    @cached_property
    def words(self) -> dict[str, str]:
        """What was said on the command line, by key."""
        return dict(str(word).lstrip("+~").partition("=")[::2] for word in self.results["words"])

    def miou(self, step: Step) -> float | None:
        return self.scores.get(f"{step[0]}/{step[1]}/miou")

    def stage(self, name: str) -> Path:
        """Where the folder of a stage is, if the run's stages are there.

        Of a stage that only rounds have, such as SC-CAM's seeds, it is that of the last round.
        """
        own = self.folder / name
        if own.exists():
            return own
        rounds = {
            int(path.name.removeprefix("round_")): path / name
            for path in self.folder.glob("round_*")
            if path.name.removeprefix("round_").isdigit() and (path / name).exists()
        }
        return rounds[max(rounds)] if rounds else own

    def counts(self, step: Step) -> Path:
        """Where counts of each image are, if the run's stages are there."""
        return self.stage(f"{step[0]}_miou/{step[1]}") / PIXEL_COUNTS_FILE

    def tally(self, step: Step) -> PixelCounts | None:
        """Counts of each image, or None where the run's stages are not there (any more)."""
        path = self.counts(step)
        return load_pixel_counts(path.parent) if path.is_file() else None

    def curve(self, split: str) -> dict[str, list[float]] | None:
        """Figures of the seeds over thresholds, if the run has any.

        Raises:
            InputError: the file is damaged.
        """
        path = self.stage(f"seeds_miou/{split}") / "curve.json"
        if not path.is_file():
            return None
        try:
            curve = json.loads(path.read_text(encoding="utf-8"))
            if len(curve["threshold"]) != len(curve["miou"]):
                raise ValueError("thresholds and mIoU differ in number")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} cannot be read as a curve ({error}); delete its folder and repeat the "
                "run, which writes it again."
            ) from error
        return curve

    @property
    def minutes(self) -> float:
        """Of work, all stages together."""
        return sum(filter(_is_number, self.results["seconds"].values())) / 60

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
        """Steps with an mIoU in any run, in the order in which they are made; rounds apart."""
        parts = {tuple(key.split("/")) for run in self.runs for key in run.scores}
        found = {(key[0], key[1]) for key in parts if len(key) == 3 and key[2] == "miou"}
        return sorted(found, key=lambda step: (rank(step[0]), *step))

    def rounds(self) -> dict[Step, list[tuple[int, list[float]]]]:
        """mIoU over rounds, of each step that is made in rounds: (round, values of all runs)."""
        found: dict[Step, list[tuple[int, list[float]]]] = {}
        for key in dict.fromkeys(key for run in self.runs for key in run.scores):
            match = re.fullmatch(r"round_(\d+)/([^/]+)/([^/]+)/miou", key)
            if match:
                step = (match[2], match[3])
                found.setdefault(step, []).append((int(match[1]), self.figures(key)))
        return {step: sorted(points) for step, points in found.items()}


@dataclass(frozen=True)
class DataSet:
    """Methods that were scored on the same images.

    Args:
        name: of the data.
        methods: that were run on it.
        notes: what a reader must know of the runs.
        title: the name, and what tells the data from others of the same name.
    """

    name: str
    methods: list[Method]
    notes: list[str] = field(default_factory=list)
    title: str = ""

    @property
    def train(self) -> str:
        """The split that was learnt from."""
        return self.methods[0].protocol["splits"]["train"]

    @property
    def val(self) -> str | None:
        """The validation split; None where the data have none."""
        return self.methods[0].protocol["splits"]["val"]

    @property
    def splits(self) -> list[str]:
        """Training and validation split, each once."""
        return list(dict.fromkeys(split for split in (self.train, self.val) if split is not None))

    @property
    def file_name(self) -> str:
        """The title as the beginning of a file's name."""
        return file_name(self.title or self.name)

    def main_step(self) -> Step | None:
        """The step on which methods are compared: the last that two of them have, on val first."""
        named = {*ORDER, *(step for method in self.methods for step, _ in method.steps())}
        order = sorted(named, key=lambda step: (rank(step), step), reverse=True)
        steps = [(name, split) for split in reversed(self.splits) for name in order]
        # what comes out of the whole pipeline, before what comes out of its parts
        final = [
            step for step in steps if step[0].startswith("segmentation") or step[1] == self.train
        ]
        counts = {step: sum(bool(m.values(step)) for m in self.methods) for step in steps}
        wanted = min(2, len(self.methods))
        return next((step for step in [*final, *steps] if counts[step] >= wanted), None)


def find_runs(paths: Iterable[Path], unusable: list[str] | None = None) -> list[RunResult]:
    """Runs whose results lie in these folders or below them.

    Args:
        paths: folders.
        unusable: where given, runs whose results.json cannot be used are left out, and why is put
            here, rather than the first of them refused.

    Raises:
        InputError: a folder is not there, none holds results, or a results.json cannot be used.
    """
    found: dict[Path, RunResult] = {}
    refused: list[str] = []
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path} is no folder; give folders of runs, such as runs/my_sweep.")
        for folder in _folders(path):
            try:
                found[folder.resolve()] = RunResult(folder, _read(folder / "results.json"))
            except InputError as error:
                if unusable is None:
                    raise
                refused.append(str(error))
    if not found:
        raise InputError(
            refused[0]
            if refused
            else "no results.json lies in these folders; give those of finished runs, such as runs."
        )
    if unusable is not None:
        unusable += dict.fromkeys(refused)
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
    fault = _fault(results)
    if fault:
        raise InputError(
            f"{path} {fault}; it is damaged, or was written by another version of wsss_lightning. "
            "Repeat its run with this one, or leave it out."
        )
    return results


def _fault(results: Any) -> str:
    """What keeps the content of a results.json from being used; empty where nothing does."""
    if not isinstance(results, dict):
        return "holds no results"
    for key, types in SHAPE:
        value: Any = results
        for part in key.split("."):
            if part not in value:
                return f"has no {key}"
            value = value[part]
        finite = not isinstance(value, float) or math.isfinite(value)
        if not isinstance(value, types) or isinstance(value, bool) or not finite:
            return f"has {key}: {value!r}"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, NUMBER) and not isinstance(value, bool) and math.isfinite(value)


def file_name(text: str) -> str:
    """Text as part of a file's name: letters of all scripts, digits, and no separators."""
    return re.sub(r"[^\w.+=-]+", "-", text).strip("-.") or "unnamed"


def group(runs: Sequence[RunResult]) -> list[DataSet]:
    """Runs by what they were scored on, and by what distinguishes them but for the seed."""
    by_data: dict[tuple[str, ...], list[RunResult]] = {}
    for run in runs:
        by_data.setdefault((run.results["data"], *_scored_on(run)), []).append(run)
    keys = list(by_data)
    found = [
        replace(_data_set(key[0], members), title=_title(key, keys))
        for key, members in by_data.items()
    ]
    return _apart_as_files(found)


def _title(key: tuple[str, ...], keys: Sequence[tuple[str, ...]]) -> str:
    """The data's name, and as much of what was scored on as tells them from others of that name."""
    others = [other for other in keys if other[0] == key[0] and other != key]
    parts: list[str] = []
    for i in range(1, len(key)):
        if any(other[i] != key[i] for other in others):
            parts.append(key[i])
            others = [other for other in others if other[i] == key[i]]
    return f"{key[0]} ({'; '.join(parts)})" if parts else key[0]


def _scored_on(run: RunResult) -> tuple[str, str, str]:
    """What scores of a run depend on beside the name of the data, in words."""
    splits, reader = run.results["protocol"]["splits"], run.results["reader"]
    read = f"{splits['train']} and {splits['val']}"
    if splits["val"] is None:
        read = f"{splits['train']}, no validation split"
    classes = json.dumps([reader["classes"], reader.get("mask_ids")], sort_keys=True)
    digest = hashlib.sha256(classes.encode()).hexdigest()[:12]
    # in runs of earlier versions the last part of the data's digest is of the true masks
    earlier = run.results["data_digest"].rpartition("-")[2]
    truth = run.results["protocol"].get("masks_digest", earlier)
    return (
        read,
        f"{len(reader['classes'])} classes {digest}",
        f"true masks {truth}",
    )


def _apart_as_files(found: Sequence[DataSet]) -> list[DataSet]:
    """Titles that would give files of the same name end in a number."""
    counts: Counter[str] = Counter()
    kept = []
    for data in found:
        counts[data.file_name] += 1
        count = counts[data.file_name]
        kept.append(data if count == 1 else replace(data, title=f"{data.title} {count}"))
    return kept


def _data_set(name: str, runs: Sequence[RunResult]) -> DataSet:
    told = [
        {key: value for key, value in run.words.items() if not (apart(key) or _no_list(key, value))}
        for run in runs
    ]
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
        number = next(n for n in count_from(1) if _numbered(name, n) not in names)
        names.append(_numbered(name, number))
    return names


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"


def apart(key: str) -> bool:
    """Whether a word says where or how a run is made, or stands in a column of its own."""
    group, _, argument = key.lstrip("+~").partition(".")
    if group == "trainer" and argument:
        return argument in NEUTRAL or argument.partition(".")[0] in MACHINE
    return key in APART or key.startswith(("hydra.", "logger.", "hydra/"))


def _no_list(key: str, value: str) -> bool:
    """Whether a word says that a split does not exist, which splits of the run say too."""
    return key.startswith("data.dataset.lists.") and value == "null"


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
    notes = [
        f"{method}, seed {run.seed}: {', '.join(run.broken_scores)} of {run.folder} is no number "
        "and counts as not scored."
        for run in kept
        if run.broken_scores
    ]
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


def rank(step: str) -> tuple[int, int]:
    """Place of a step in the order of making; those of other refiners come before pseudo masks."""
    return (ORDER.index(step), 0) if step in ORDER else (ORDER.index("pseudo") - 1, 1)
