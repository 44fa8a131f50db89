"""`wsss-lightning report`: finished runs as one HTML page with tables."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsss_lightning.cli.parser import verb_parser
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.utils.files import write_table, write_text

if TYPE_CHECKING:
    from wsss_lightning.report.annotation_cost import Costs
    from wsss_lightning.report.comparison import Comparison
    from wsss_lightning.report.methods import DataSet

DESCRIPTION = """
Compare finished runs on one HTML page, with verdicts, charts and pictures. Markdown and LaTeX
tables and a CSV file of every score are written beside the page.
"""
EXAMPLES = (
    "report runs/sweep",
    "report runs/cam runs/seam --out cam_seam.html --baseline cam",
)
SUFFIXES = (".html", ".md", ".tex", ".csv")


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    made = verb_parser("report", DESCRIPTION, EXAMPLES)
    made.add_argument("runs", nargs="+", type=Path, help="folders of runs, or their parents")
    made.add_argument(
        "--out",
        type=Path,
        help="page to write; default: report.html, unless --charts or --keep is given",
    )
    made.add_argument("--baseline", help="method that the others are compared with")
    made.add_argument(
        "--step", help="step to compare, such as seeds/train; default: the last of two methods"
    )
    made.add_argument("--costs", type=Path, help="YAML file of seconds per annotation")
    made.add_argument("--charts", type=Path, help="folder for the charts as PNG files")
    made.add_argument(
        "--keep", type=Path, help="folder for a copy of the scores and pixel counts of all runs"
    )
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        InputError: as `make_report`, or a file cannot be read or written.
    """
    given = parser().parse_args(arguments)
    try:
        make_report(
            given.runs,
            given.out,
            shlex.join(["python", "-m", "wsss_lightning", "report", *arguments]),
            baseline=given.baseline,
            step=given.step,
            costs_file=given.costs,
            charts=given.charts,
            kept=given.keep,
        )
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(
            f"A file or folder cannot be read or written ({error}). Change its permissions, or "
            "choose another folder with --out, --charts or --keep."
        ) from error


def make_report(
    runs: Sequence[Path],
    out: Path | None,
    command: str,
    *,
    baseline: str | None = None,
    step: str | None = None,
    costs_file: Path | None = None,
    charts: Path | None = None,
    kept: Path | None = None,
) -> None:
    """Write the page and, in the same folder, images, Markdown and LaTeX tables and a CSV file.

    Args:
        runs: folders of runs, or their parents.
        out: the page, or its folder; None: report.html, or no page if `charts` or `kept` is given.
        command: shown on the page.
        baseline: method that the others are compared with.
        step: step that is compared, `<step>/<split>`.
        costs_file: file of the costs of annotation.
        charts: folder for charts, `<data>_<chart>.png`.
        kept: folder for a copy of scores and pixel counts (`export_runs`).

    Raises:
        InputError: runs, baseline, step or costs cannot be used, or the page's folder is missing.
    """
    from wsss_lightning.report.annotation_cost import read_costs
    from wsss_lightning.report.comparison import Comparison
    from wsss_lightning.report.export import export_runs
    from wsss_lightning.report.grouping import group
    from wsss_lightning.report.runs import find_runs

    if out is None and charts is None and kept is None:
        out = Path("report.html")
    if out is not None and not (out.is_dir() or out.parent.is_dir()):
        raise InputError(f"{out.parent} is no folder; create it, or choose another: --out FILE.")
    costs = read_costs(costs_file)
    unusable: list[str] = []
    data_sets = group(find_runs(runs, unusable))
    for message in unusable:
        print(f"left out: {message}", file=sys.stderr)
    compared = _compared_step(step, data_sets)
    comparisons = [
        Comparison(data, _baseline_of(data, baseline), costs, compared) for data in data_sets
    ]
    if baseline and all(baseline != one.baseline.name for one in comparisons):
        names = [method.name for data in data_sets for method in data.methods]
        raise InputError(f"--baseline is {baseline}, but the methods are {', '.join(names)}.")
    if out is not None:
        page_file = out / "report.html" if out.is_dir() else out
        notes = [f"Left out: {message}" for message in unusable]
        _write_page(page_file, comparisons, costs, command, notes)
    if charts is not None:
        _write_charts(charts, comparisons)
    if kept is not None:
        for data in data_sets:
            print(f"kept  {export_runs(data, kept)} runs of {data.title} in {kept}")


def _write_page(
    out: Path, comparisons: "list[Comparison]", costs: "Costs", command: str, notes: list[str]
) -> None:
    from wsss_lightning.report import tables
    from wsss_lightning.report.page import page, section
    from wsss_lightning.report.tiles import remove_other_images

    stem = out.name.removesuffix(out.suffix) if out.suffix in SUFFIXES else out.name
    folder = out.with_name(f"{stem}_files")
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"{folder} is a file, but the page needs a folder of that name for its images; rename "
            "the file, or choose another page with --out FILE."
        )
    sections = [section(comparison, folder) for comparison in comparisons]
    parts = {
        ".html": page(sections, costs, command, folder.name, notes),
        ".md": tables.markdown(comparisons),
        ".tex": tables.latex(comparisons),
    }
    for suffix, text in parts.items():
        path = out.with_name(stem + suffix)
        write_text(path, text)
        print(f"{suffix[1:]:<5} {path}")
    write_table(out.with_name(f"{stem}.csv"), tables.every_score(comparisons))
    print(f"csv   {out.with_name(f'{stem}.csv')}")
    remove_other_images(folder, {name for one in sections for name in one.image_files})
    if folder.is_dir():
        print(f"jpg   {folder}, images of the page in full size")


def _write_charts(folder: Path, comparisons: "list[Comparison]") -> None:
    from wsss_lightning.figures.charts import save_chart
    from wsss_lightning.report.methods import file_name
    from wsss_lightning.report.page import error_breakdowns, rank_methods
    from wsss_lightning.report.page_charts import charts_of

    folder.mkdir(parents=True, exist_ok=True)
    for comparison in comparisons:
        _, methods = rank_methods(comparison)
        charts = charts_of(comparison, methods, error_breakdowns(comparison, methods))
        for name, chart in charts.items():
            path = folder / f"{comparison.data.file_name}_{file_name(name)}.png"
            save_chart(chart, path)
            print(f"png   {path}")


def _compared_step(step: str | None, data_sets: "Sequence[DataSet]") -> tuple[str, str] | None:
    """Step and split of `--step`.

    Raises:
        InputError: no method was scored at this step.
    """
    if step is None:
        return None
    methods = [method for data in data_sets for method in data.methods]
    known = sorted({"/".join(one) for method in methods for one in method.steps()})
    if step not in known:
        raise InputError(f"--step is {step}, but has no scores; {did_you_mean(step, known)}")
    name, _, split = step.rpartition("/")
    return name, split


def _baseline_of(data: "DataSet", baseline: str | None) -> str | None:
    """The baseline, if a data set has such a method."""
    return baseline if baseline in [method.name for method in data.methods] else None


if __name__ == "__main__":
    from wsss_lightning.__main__ import main as run

    run(["report", *sys.argv[1:]])
