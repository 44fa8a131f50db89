"""Compare the scores of finished runs with the published ones, recipe by recipe.

    python experiments/reproduce/voc2012/check.py RUNS [--markdown | --json]

RUNS is a folder of runs, such as runs/reproduce_voc2012. A row is `reproduced` only if its runs
have every setting of the published run, were scored on all images of VOC 2012, and their mean is
within the tolerance. The exit status is 0 if all rows that were run are reproduced.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wsss_lightning.cli.error_messages import fail
from wsss_lightning.errors import InputError
from wsss_lightning.recipes import (
    Difference,
    Recipe,
    Score,
    Setting,
    read_recipe,
    recipe_names,
)
from wsss_lightning.report.grouping import is_incidental
from wsss_lightning.report.runs import RunResult, find_runs

DATA = "voc2012"
# number of images in VOC's lists, and in train_aug with SBD's images
IMAGES = {"train": 1464, "train_aug": 10582, "val": 1449}
# overrides without effect on scores, in addition to those of `is_incidental`
NEUTRAL = ("checkpoint_minutes", "resume", "backbone.weights", "crf.engine", "recipe")
NEUTRAL += ("cam.batch_size", "test.batch_size", "refine.walk.batch_size")
# overrides in `is_incidental` that nevertheless change scores
COUNTED = ("data", "data.train", "data.val", "pipeline.segment", "name")
# suffixes of keys that choose a network or its initial weights
NETWORK = ("backbone.name", "weights", "pretrained", "net._target_", "init_from")
# facts about them in the tables
NETWORK_FACTS = ("segmentation network", "initial weights of the segmentation network")
SEGMENTATION = ("segmenter", "fit.segmenter", "test", "test_crf")


@dataclass(frozen=True)
class Row:
    """A published score and the scores of the recipe's runs.

    Args:
        recipe: name of the recipe.
        score: published score with tolerance and source.
        verdict: `reproduced`, `off by +x`, `not run`, `not scored`, or `settings differ: ...`.
        values: scores in percent, by seed.
        reasons: why runs cannot be compared with the published one.
        notes: deliberate differences in the network or its initial weights.
    """

    recipe: str
    score: Score
    verdict: str
    values: Mapping[int, float] = field(default_factory=dict)
    reasons: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def measured(self) -> str:
        """Mean over seeds in percent, and their range."""
        values = list(self.values.values())
        if not values:
            return ""
        if len(values) == 1:
            return f"{values[0]:.1f}"
        return f"{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def rows_of(recipe: Recipe, runs: Sequence[RunResult]) -> list[Row]:
    """One row for each published score of a recipe.

    Args:
        runs: runs of this recipe. Those that differ from the published run are used only if
            there are no others; of several runs with one seed the last one written counts.
    """
    problems = {run.folder: differences(recipe, run) for run in runs}
    whole = [run for run in runs if not problems[run.folder]]
    used = _last_of_each_seed(whole or runs)
    reasons = list(dict.fromkeys(reason for run in used for reason in problems[run.folder]))
    return [_row(recipe, score, used, reasons) for score in recipe.scores]


def _row(recipe: Recipe, score: Score, runs: Sequence[RunResult], reasons: list[str]) -> Row:
    values = {run.seed: 100 * run.scores[score.key] for run in runs if score.key in run.scores}
    notes = other_networks(recipe, score)
    if not runs:
        verdict = "not run"
    elif reasons:
        keys = [reason.partition(":")[0] for reason in reasons]
        more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
        verdict = f"settings differ: {', '.join(keys[:SHOWN])}{more}"
    elif len(values) < len(runs):
        verdict = "not scored"
    else:
        gap = mean(values.values()) - score.published
        # rounded first, so that 54.4 is within 1.0 of 55.4
        close = round(abs(gap), 4) <= score.tolerance
        verdict = "reproduced" if close else f"off by {gap:+.1f}"
    return Row(recipe.name, score, verdict, values, reasons, notes)


SHOWN = 3  # number of differences shown in a verdict and below the table
DELIBERATE = "All settings and deliberate differences: python -m wsss_lightning recipes NAME"


def differences(recipe: Recipe, run: RunResult) -> list[str]:
    """Differences between a run and the published one; each begins with a key."""
    results, recorded = run.results, run.results.recipe
    compared = [] if recorded is None else [Difference(**one) for one in recorded.differences]
    found = {one.key: str(one) for one in compared}
    if results.data != DATA:
        found["data"] = f"data: {results.data} (published {DATA})"
    scored = results.protocol.scored_splits or {}
    for split, count in IMAGES.items():
        images = scored[split].images if split in scored else 0
        if images != count:
            found[split] = f"images of {split}: {images} (published {count})"
    if results.protocol.initial_weights == "random":
        found["backbone.weights"] = "backbone.weights: random (published trained on ImageNet)"
    expected = dict(word.lstrip("+~").partition("=")[::2] for word in recipe.overrides)
    for key, value in run.overrides.items():
        neutral = key in NEUTRAL or (is_incidental(key) and key not in COUNTED)
        if not (neutral or key in found or expected.get(key) == value or _in_table(recipe, key)):
            found[key] = f"{key}: {value} (not set by the published run)"
    return list(found.values())


def _in_table(recipe: Recipe, key: str) -> bool:
    """Whether the table of the recipe already compares a key or a group that contains it."""
    return any(
        one.key == key or one.key.startswith(f"{key}.") or key.startswith(f"{one.key}.")
        for one in recipe.settings
    )


def other_networks(recipe: Recipe, score: Score) -> list[str]:
    """Deliberate differences in the network behind a score, or in its initial weights."""
    segmented = score.key.startswith("segmentation")
    found = []
    for one in recipe.deliberate:
        if isinstance(one, Setting):
            about_network = one.key.endswith(NETWORK)
            behind = segmented or not one.key.startswith(SEGMENTATION)
            difference = str(Difference(one.key, one.ours, one.official))
        else:
            about_network = one.fact in NETWORK_FACTS
            behind = segmented
            difference = f"{one.fact}: {one.ours} (published: {one.official})"
        if about_network and behind:
            found.append(f"{difference}: {one.reason}")
    return found


def _last_of_each_seed(runs: Sequence[RunResult]) -> list[RunResult]:
    written = sorted(runs, key=lambda run: (run.folder / "results.json").stat().st_mtime_ns)
    return [run for _, run in sorted({run.seed: run for run in written}.items())]


def by_recipe(runs: Sequence[RunResult], names: Sequence[str]) -> dict[str, list[RunResult]]:
    """Runs of each recipe; runs of no recipe are left out.

    Raises:
        InputError: the results of a run lack the differences to its recipe or the number of scored
            images.
    """
    found: dict[str, list[RunResult]] = {name: [] for name in names}
    for run in runs:
        recipe = run.results.recipe
        if recipe is None and run.experiment not in names:
            continue
        if recipe is None or run.results.protocol.scored_splits is None:
            raise InputError(
                f"{run.folder / 'results.json'} lacks the recipe or the number of scored images, "
                "because another version of wsss_lightning wrote it. Repeat the run with this "
                "version, or leave it out."
            )
        if recipe.name in found:
            found[recipe.name].append(run)
    return found


def check(folders: Sequence[Path]) -> list[Row]:
    """The rows of all recipes for VOC 2012.

    Raises:
        InputError: there are no results, or they cannot be read.
    """
    names = [name for name in recipe_names() if name.endswith(f"_{DATA}")]
    runs = by_recipe(find_runs(folders), names)
    if not any(runs.values()):
        raise InputError(
            f"no run in {', '.join(map(str, folders))} follows a recipe; the recipes are "
            f"{', '.join(names)}. Start them with run.py, in the folder of this script."
        )
    return [row for name in names for row in rows_of(read_recipe(name), runs[name])]


def is_reproduced(rows: Sequence[Row]) -> bool:
    """Whether at least one row was run, and all of these are reproduced."""
    run = [row for row in rows if row.verdict != "not run"]
    return bool(run) and all(row.verdict == "reproduced" for row in run)


HEADINGS = ("recipe", "score", "published", "tolerance", "measured", "verdict")


def cells(row: Row) -> list[str]:
    score = row.score
    published, tolerance = f"{score.published:.1f}", f"± {score.tolerance:g}"
    verdict = f"{row.verdict} (other network)" if row.notes else row.verdict
    return [row.recipe, score.key, published, tolerance, row.measured, verdict]


def remarks(rows: Sequence[Row], most: int | None = None) -> list[str]:
    """The lines below the table, without repeats: differences in settings, networks and sources.

    Args:
        most: number of differences shown per recipe; None shows all.
    """
    found = []
    for row in rows:
        found += [f"{row.recipe}: {reason}" for reason in row.reasons[:most]]
        left = len(row.reasons[len(row.reasons[:most]) :])
        found += [f"{row.recipe}: and {left} more settings (--json shows all)"] if left else []
    found += [f"{row.recipe}, {row.score.key}: {note}" for row in rows for note in row.notes]
    found += [f"{row.recipe}, {row.score.key}: published in {row.score.source}" for row in rows]
    return list(dict.fromkeys(found))


def as_json(rows: Sequence[Row]) -> str:
    content: list[dict[str, Any]] = [
        {
            "recipe": row.recipe,
            "score": row.score.key,
            "published": row.score.published,
            "tolerance": row.score.tolerance,
            "source": row.score.source,
            "seeds": {str(seed): round(value, 4) for seed, value in row.values.items()},
            "mean": round(mean(row.values.values()), 4) if row.values else None,
            "verdict": row.verdict,
            "differences": list(row.reasons),
            "other_networks": list(row.notes),
        }
        for row in rows
    ]
    return json.dumps(content, indent=2, ensure_ascii=False)


def as_markdown(rows: Sequence[Row]) -> str:
    lines = [list(HEADINGS), ["---", "---", "---:", "---:", "---:", "---"], *map(cells, rows)]
    table = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in one)} |" for one in lines]
    return "\n".join([*table, "", *(f"- {remark}" for remark in remarks(rows))])


def show(rows: Sequence[Row]) -> None:
    table = Table(title="mIoU in percent, mean over seeds (lowest to highest)")
    for heading in HEADINGS:
        numbers = heading in ("published", "tolerance", "measured")
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    colours = {"reproduced": "green", "not run": "dim"}
    for row in rows:
        *first, verdict = map(escape, cells(row))
        table.add_row(*first, f"[{colours.get(row.verdict, 'red')}]{verdict}[/]")
    console = Console()
    console.print(table)
    run = [row for row in rows if row.verdict != "not run"]
    for remark in [*remarks(run, most=SHOWN), DELIBERATE]:
        console.print(remark, style="dim", markup=False, highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, help="folders of runs, or folders that contain them"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="a table to paste into an issue")
    form.add_argument("--json", action="store_true", help="all values of all seeds")
    args = parser.parse_args(arguments)
    try:
        rows = check(args.runs)
    except InputError as error:
        fail(str(error))
    if args.json:
        print(as_json(rows))
    elif args.markdown:
        print(as_markdown(rows))
    else:
        show(rows)
    sys.exit(not is_reproduced(rows))


if __name__ == "__main__":
    main()
