"""What reports are made of, small enough to be kept beside a study for good."""

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

from wsss_lightning.report.runs import DataSet, RunResult, Step, apart, file_name
from wsss_lightning.utils.files import write_json

STEPS = ("seeds", "pseudo")
"""Whose counts of pixels on train are kept, beside those of the network on the last split."""


def keep(data: DataSet, folder: Path) -> int:
    """Copy scores and counts of pixels of a data set's runs, without images, weights or logs.

    The same run made anew takes the place of the former. Folders of this machine are left out of
    its words; `python -m wsss_lightning.report FOLDER` then gives the same verdicts and charts.

    Returns:
        How many runs there are.
    """
    network = ("segmentation", "segmentation_crf")
    steps: list[Step] = [(name, data.train) for name in STEPS]
    steps += [(name, data.splits[-1]) for name in network]
    runs = [run for method in data.methods for run in method.runs]
    for run in runs:
        own = folder / data.file_name / _name(run)
        # whole or not at all, also where a run is kept in the place that it is read from
        made = own.with_name(f".{own.name}.new")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for step in steps:
            counts = run.counts(step)
            if counts.is_file():
                copy = made / counts.relative_to(run.folder)
                copy.parent.mkdir(parents=True)
                shutil.copyfile(counts, copy)
        write_json(made / "results.json", _content(run))
        shutil.rmtree(own, ignore_errors=True)
        made.rename(own)
    return len(runs)


def _content(run: RunResult) -> dict[str, Any]:
    reader = {**run.results["reader"], "root": Path(run.results["reader"].get("root", "")).name}
    words = [_without_folders(str(word)) for word in run.results["words"]]
    own = {"scores": dict(run.scores), "reader": reader, "words": words}
    return {**run.results, **own, "trained": sorted(run.trained)}


def _name(run: RunResult) -> str:
    """Of the experiment, the seed and what else was said, but for where it was made."""
    said = sorted(f"{key}={value}" for key, value in run.words.items() if not apart(key))
    digest = hashlib.sha256(",".join(map(_without_folders, said)).encode()).hexdigest()
    return f"{file_name(run.experiment)}_{run.seed}_{digest[:8]}"


def _without_folders(word: str) -> str:
    return re.sub(r"=[^=]*/", "=", word)
