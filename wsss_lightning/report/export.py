"""Exports the scores and pixel counts of finished runs, small enough to keep with a study."""

import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

from wsss_lightning.report.grouping import is_incidental
from wsss_lightning.report.methods import DataSet, file_name
from wsss_lightning.report.runs import RunResult, Step
from wsss_lightning.results.schema import Results, write_results

TRAIN_STEPS = ("seeds", "pseudo")
VAL_STEPS = ("segmentation", "segmentation_crf")


def export_runs(data: DataSet, folder: Path) -> int:
    """Copy the scores and pixel counts of a data set's runs, without images, weights or logs.

    An exported run replaces an earlier export of the same run. Folders of this machine are removed
    from its overrides. `python -m wsss_lightning report FOLDER` then gives the same verdicts and
    charts.

    Args:
        data: data set whose runs are exported.
        folder: to write to.

    Returns:
        The number of runs.
    """
    steps: list[Step] = [(name, data.train) for name in TRAIN_STEPS]
    steps += [(name, data.splits[-1]) for name in VAL_STEPS]
    runs = [run for method in data.methods for run in method.runs]
    for run in runs:
        target = folder / data.file_name / _name(run)
        # a complete copy replaces the old one, which may be the folder that is read
        copy = target.with_name(f".{target.name}.new")
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(parents=True)
        for step in steps:
            counts = run.pixel_counts_file(step)
            if counts.is_file():
                copied = copy / counts.relative_to(run.folder)
                copied.parent.mkdir(parents=True)
                shutil.copyfile(counts, copied)
        write_results(copy, _without_machine(run))
        shutil.rmtree(target, ignore_errors=True)
        copy.rename(target)
    return len(runs)


def _without_machine(run: RunResult) -> Results:
    """Results without invalid scores and folders of this machine."""
    root = Path(run.results.dataset.get("root", "")).name
    return replace(
        run.results,
        scores=dict(run.scores),
        dataset={**run.results.dataset, "root": root},
        overrides=[_without_folders(override) for override in run.results.overrides],
        trainings=sorted(run.trainings),
    )


def _name(run: RunResult) -> str:
    """Folder of an exported run: experiment, seed, and a digest of the other overrides."""
    overrides = sorted(f"{k}={v}" for k, v in run.overrides.items() if not is_incidental(k))
    digest = hashlib.sha256(",".join(map(_without_folders, overrides)).encode()).hexdigest()
    return f"{file_name(run.experiment)}_{run.seed}_{digest[:8]}"


def _without_folders(override: str) -> str:
    return re.sub(r"=[^=]*/", "=", override)
