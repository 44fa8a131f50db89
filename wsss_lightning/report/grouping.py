"""Groups runs by the data they were scored on, and by the overrides that distinguish them."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from wsss_lightning.report.methods import DataSet, Method
from wsss_lightning.report.runs import RunResult
from wsss_lightning.results.schema import FILE_NAME
from wsss_lightning.training.trainer import NEUTRAL

# overrides that change how a run is executed but no result, or that have a column of their own
INCIDENTAL: tuple[str, ...] = (
    "experiment",
    "seed",
    "output_dir",
    "workers",
    "trainer",
    "logger",
    "device_groups",
    "num_previews",
    "name",
)
INCIDENTAL += ("data", "data.root", "data.train", "data.val", "pipeline.segment", "hydra")
# arguments of the trainer that choose the machine
MACHINE = ("accelerator", "devices", "strategy", "sync_batchnorm")
MAX_NAME = 44  # characters of a method's name


def group(runs: Sequence[RunResult]) -> list[DataSet]:
    """Group runs by data, and within the data by method: runs that differ only in their seed."""
    by_data: dict[tuple[str, ...], list[RunResult]] = {}
    for run in runs:
        by_data.setdefault((run.results.data, *_scored_on(run)), []).append(run)
    keys = list(by_data)
    data_sets = [
        replace(_data_set(key[0], members), title=_title(key, keys))
        for key, members in by_data.items()
    ]
    return _with_unique_files(data_sets)


def is_incidental(key: str) -> bool:
    """Whether an override only sets how a run is executed, or has its own column."""
    group_name, _, argument = key.lstrip("+~").partition(".")
    if group_name == "trainer" and argument:
        return argument in NEUTRAL or argument.partition(".")[0] in MACHINE
    return key in INCIDENTAL or key.startswith(("hydra.", "logger.", "hydra/"))


def _title(key: tuple[str, ...], keys: Sequence[tuple[str, ...]]) -> str:
    """Name of the data, and its differences from other data of this name."""
    others = [other for other in keys if other[0] == key[0] and other != key]
    parts: list[str] = []
    for i in range(1, len(key)):
        if any(other[i] != key[i] for other in others):
            parts.append(key[i])
            others = [other for other in others if other[i] == key[i]]
    return f"{key[0]} ({'; '.join(parts)})" if parts else key[0]


def _scored_on(run: RunResult) -> tuple[str, str, str]:
    """Splits, classes and true masks: scores depend on these besides the data itself."""
    protocol, dataset = run.results.protocol, run.results.dataset
    splits = f"{protocol.splits.train} and {protocol.splits.val}"
    if protocol.splits.val is None:
        splits = f"{protocol.splits.train}, no validation split"
    classes = json.dumps([dataset["classes"], dataset.get("mask_ids")], sort_keys=True)
    digest = hashlib.sha256(classes.encode()).hexdigest()[:12]
    return (
        splits,
        f"{len(dataset['classes'])} classes {digest}",
        f"true masks {protocol.true_masks_digest}",
    )


def _with_unique_files(data_sets: Sequence[DataSet]) -> list[DataSet]:
    """Number the titles that would give files of the same name."""
    counts: Counter[str] = Counter()
    unique = []
    for data in data_sets:
        counts[data.file_name] += 1
        number = counts[data.file_name]
        unique.append(data if number == 1 else replace(data, title=f"{data.title} {number}"))
    return unique


def _data_set(name: str, runs: Sequence[RunResult]) -> DataSet:
    distinctive = [
        {
            key: value
            for key, value in run.overrides.items()
            if not (is_incidental(key) or _removes_split(key, value))
        }
        for run in runs
    ]
    keys = sorted({key for overrides in distinctive for key in overrides})
    differing = [key for key in keys if len({o.get(key) for o in distinctive}) > 1]
    differing.sort(key=lambda key: "." in key)  # choices of whole groups first
    by_method: dict[tuple[str, ...], list[RunResult]] = {}
    for run, overrides in zip(runs, distinctive, strict=True):
        parts = [
            f"{_short(key, differing)}={overrides[key]}" for key in differing if key in overrides
        ]
        by_method.setdefault((run.experiment, *parts), []).append(run)
    methods, notes = [], []
    names = _short_names(list(by_method))
    for short, (description, members) in zip(names, by_method.items(), strict=True):
        kept, method_notes = _one_per_seed(short, members)
        methods.append(Method(short, kept, " ".join(description)))
        notes += method_notes
    return DataSet(name, methods, notes)


def _short_names(methods: Sequence[tuple[str, ...]]) -> list[str]:
    """A unique name for each method; overrides that do not fit are counted, as in "cam +3"."""
    names: list[str] = []
    for parts in methods:
        kept = len(parts)
        while kept > 1 and len(" ".join(parts[:kept])) > MAX_NAME:
            kept -= 1
        more = [f"+{len(parts) - kept}"] if kept < len(parts) else []
        name = " ".join([*parts[:kept], *more])
        number = next(n for n in count(1) if _numbered(name, n) not in names)
        names.append(_numbered(name, number))
    return names


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"


def _removes_split(key: str, value: str) -> bool:
    """Whether an override removes a split, which the protocol records too."""
    return key.startswith("data.dataset.lists.") and value == "null"


def _short(key: str, keys: Sequence[str]) -> str:
    """The last part of a key if no other key has it, or else the whole key."""
    last = key.rpartition(".")[2]
    return last if [other.rpartition(".")[2] for other in keys].count(last) == 1 else key


def _one_per_seed(method: str, runs: Sequence[RunResult]) -> tuple[list[RunResult], list[str]]:
    """One run for each seed, and notes; of several runs of a seed, the one finished last.

    Of two runs that share all stages, the longer one is kept without a note.
    """
    by_seed: dict[int, RunResult] = {}
    repeated = set()
    for run in sorted(runs, key=lambda run: (run.folder / FILE_NAME).stat().st_mtime_ns):
        other = by_seed.setdefault(run.seed, run)
        if other is run:
            continue
        if _agree(run, other):
            by_seed[run.seed] = max(other, run, key=lambda one: len(one.scores))
        else:
            by_seed[run.seed] = run
            repeated.add(run.seed)
    kept = [run for _, run in sorted(by_seed.items())]
    codes = {run.results.versions.get("code") for run in kept}
    notes = [
        f"{method}, seed {run.seed}: these scores of {run.folder} are no numbers and are ignored: "
        f"{', '.join(run.invalid_scores)}."
        for run in kept
        if run.invalid_scores
    ]
    if len(codes) > 1:
        notes.append(f"The runs of {method} were made with {len(codes)} versions of the code.")
    if repeated:
        seeds = ", ".join(map(str, sorted(repeated)))
        notes.append(f"{method} has several runs of seed {seeds}; the last finished run is used.")
    return kept, notes


def _agree(one: RunResult, other: RunResult) -> bool:
    """Whether one run has all scores of the other, with equal values."""
    common = one.scores.keys() & other.scores.keys()
    is_subset = len(common) == min(len(one.scores), len(other.scores))
    return is_subset and all(one.scores[key] == other.scores[key] for key in common)
