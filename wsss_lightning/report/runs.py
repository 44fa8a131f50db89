"""Finished runs, read from their folders."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.pixel_counts import PIXEL_COUNTS_FILE, PixelCounts, load_pixel_counts
from wsss_lightning.results.schema import FILE_NAME, Results, read_results
from wsss_lightning.results.stages import stage_folder
from wsss_lightning.steps.quality import load_quality

Step = tuple[str, str]
"""A step of a pipeline and a split, such as ("seeds", "train")."""


@dataclass(frozen=True)
class RunResult:
    """One finished run.

    Args:
        folder: holds results.json, and links to the stages.
        results: content of results.json.
    """

    folder: Path
    results: Results

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return self.results.experiment

    @property
    def seed(self) -> int:
        """Seed of all random numbers."""
        return self.results.seed

    @cached_property
    def scores(self) -> Mapping[str, float]:
        """Scores that are finite numbers."""
        return {key: value for key, value in self.results.scores.items() if _is_number(value)}

    @property
    def invalid_scores(self) -> list[str]:
        """Keys of scores that are null, NaN or anything else that is not a number."""
        return sorted(self.results.scores.keys() - self.scores.keys())

    @cached_property
    def overrides(self) -> dict[str, str]:
        """Command-line arguments: values by key."""
        return dict(one.lstrip("+~").partition("=")[::2] for one in self.results.overrides)

    def miou(self, step: Step) -> float | None:
        """mIoU of a step on a split; None if it was not scored."""
        return self.scores.get(f"{step[0]}/{step[1]}/miou")

    def stage(self, name: str) -> Path:
        """Folder of a stage, as in `stage_folder`."""
        return stage_folder(self.folder, name)

    def pixel_counts_file(self, step: Step) -> Path:
        """File of the pixel counts of each image, whether or not it exists."""
        return self.stage(f"{step[0]}_miou/{step[1]}") / PIXEL_COUNTS_FILE

    def pixel_counts(self, step: Step) -> PixelCounts | None:
        """Pixel counts of each image; None if the run's stages were deleted.

        Raises:
            InputError: the file is damaged.
        """
        path = self.pixel_counts_file(step)
        return load_pixel_counts(path.parent) if path.is_file() else None

    def quality(self) -> dict[str, float]:
        """Estimated quality in [0, 1] of each pseudo mask, by name; empty if it was not estimated.

        Raises:
            InputError: the file is damaged.
        """
        folder = self.stage("quality")
        return dict(load_quality(folder).images) if folder.is_dir() else {}

    def curve(self, split: str) -> dict[str, list[float]] | None:
        """Metrics of the seeds at each background threshold; None if there are none.

        Raises:
            InputError: the file is damaged.
        """
        path = self.stage(f"seeds_miou/{split}") / "curve.json"
        if not path.is_file():
            return None
        try:
            curve = json.loads(path.read_text(encoding="utf-8"))
            if len(curve["threshold"]) != len(curve["miou"]):
                raise ValueError("threshold and miou differ in length")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} cannot be read as a threshold curve ({error}); delete its folder and "
                "repeat the run, which writes it again."
            ) from error
        return curve

    @property
    def minutes(self) -> float:
        """Time of all stages together."""
        return sum(filter(_is_number, self.results.seconds.values())) / 60

    @cached_property
    def trainings(self) -> frozenset[str]:
        """Names of the stages that trained a network; runs of one seed may share some."""
        if self.results.trainings is not None:  # the run was exported without links to its stages
            return frozenset(self.results.trainings)
        linked = (path.resolve().name for path in self.folder.iterdir() if path.is_symlink())
        # stages of versions before 0.2 are called fit-*
        return frozenset(name for name in linked if name.startswith(("train-", "fit-")))


def find_runs(paths: Iterable[Path], unusable: list[str] | None = None) -> list[RunResult]:
    """Runs whose results are in these folders or below them.

    Args:
        paths: folders.
        unusable: if given, runs whose results.json cannot be used are skipped, and the reasons are
            appended here; None: the first such run raises.

    Raises:
        InputError: a folder does not exist, none has results, or a results.json cannot be used.
    """
    runs: dict[Path, RunResult] = {}
    reasons: list[str] = []
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path} is no folder; give folders of runs, such as runs/my_sweep.")
        for folder in _run_folders(path):
            try:
                runs[folder.resolve()] = RunResult(folder, read_results(folder / FILE_NAME))
            except InputError as error:
                if unusable is None:
                    raise
                reasons.append(str(error))
    if not runs:
        raise InputError(
            reasons[0]
            if reasons
            else f"There is no {FILE_NAME} in these folders; give those of finished runs, such as "
            "runs."
        )
    if unusable is not None:
        unusable += dict.fromkeys(reasons)
    return list(runs.values())


def _run_folders(path: Path) -> list[Path]:
    """This folder, or those below it, that hold results."""
    folders = []
    for folder, subfolders, files in os.walk(path):
        if FILE_NAME in files:
            folders.append(Path(folder))
            subfolders.clear()
        # stages hold thousands of files, and no runs
        subfolders[:] = sorted(name for name in subfolders if name != "stages")
    return folders


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
