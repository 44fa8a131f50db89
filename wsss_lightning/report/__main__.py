"""`python -m wsss_lightning.report RUNS...`: finished runs as one page, and tables of them."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wsss_lightning.cli.run import fail
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.report.runs import DataSet, file_name, find_runs, group
from wsss_lightning.utils.files import write_atomically, write_table

if TYPE_CHECKING:
    from wsss_lightning.report.annotation_cost import Costs
    from wsss_lightning.report.comparison import Comparison

SUFFIXES = (".html", ".md", ".tex", ".csv")


def main(words: Sequence[str] | None = None) -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(prog="python -m wsss_lightning.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, or above them")
    parser.add_argument(
        "--out",
        type=Path,
        help="the page; else report.html, where neither --charts nor --keep asks for something",
    )
    parser.add_argument("--baseline", help="method that the others are held against")
    parser.add_argument(
        "--step", help="what is compared, such as seeds/train; else the last that two methods have"
    )
    parser.add_argument("--costs", type=Path, help="YAML file of seconds a unit of annotation")
    parser.add_argument("--charts", type=Path, help="folder for the page's charts as PNG files")
    parser.add_argument(
        "--keep", type=Path, help="folder for what the page is made of, but images and weights"
    )
    told = parser.parse_args(words)
    said = shlex.join(["python", "-m", "wsss_lightning.report", *(words or sys.argv[1:])])
    try:
        make(
            told.runs,
            told.out,
            said,
            baseline=told.baseline,
            step=told.step,
            costs_file=told.costs,
            charts=told.charts,
            kept=told.keep,
        )
    except InputError as error:
        fail(str(error))
    except OSError as error:
        fail(
            f"a file or folder cannot be read or written ({error}); mend its rights, or "
            "choose other folders by --out, --charts or --keep."
        )


def make(
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
    """Write the page, and beside it its pictures, tables as Markdown and LaTeX, and a CSV file.

    Args:
        runs: folders of runs, or above them.
        out: the page, or a folder for it; None: no page where charts or records are asked for,
            else report.html.
        command: that asked for it.
        baseline: method that the others are held against.
        step: what is compared, `<step>/<split>`.
        costs_file: of annotation.
        charts: folder where those of the page lie as `<data>_<chart>.png`.
        kept: folder that gets what the page is made of (`keeping.keep`).

    Raises:
        InputError: runs, baseline, step or costs cannot be used, or the page's folder is not there.
    """
    from wsss_lightning.figures.charts import save_chart
    from wsss_lightning.report.annotation_cost import read_costs
    from wsss_lightning.report.comparison import Comparison
    from wsss_lightning.report.export import keep
    from wsss_lightning.report.page import charts_of

    if out is None and charts is None and kept is None:
        out = Path("report.html")
    if out is not None and not (out.is_dir() or out.parent.is_dir()):
        raise InputError(f"{out.parent} is no folder; make it, or choose another by --out FILE.")
    costs = read_costs(costs_file)
    unusable: list[str] = []
    found = group(find_runs(runs, unusable))
    for message in unusable:
        print(f"left out: {message}", file=sys.stderr)
    compared = _step(step, found)
    comparisons = [Comparison(data, _own(baseline, data), costs, compared) for data in found]
    if baseline and all(baseline != c.baseline.name for c in comparisons):
        raise InputError(
            f"--baseline is {baseline}, but the methods are "
            f"{', '.join(m.name for c in comparisons for m in c.data.methods)}."
        )
    if out is not None:
        page = out / "report.html" if out.is_dir() else out
        _write_page(page, comparisons, costs, command, [f"Left out: {one}" for one in unusable])
    if charts is not None:
        charts.mkdir(parents=True, exist_ok=True)
        for comparison in comparisons:
            for name, chart in charts_of(comparison).items():
                path = charts / f"{comparison.data.file_name}_{file_name(name)}.png"
                save_chart(chart, path)
                print(f"png   {path}")
    if kept is not None:
        for data in found:
            print(f"kept  {keep(data, kept)} runs of {data.title} in {kept}")


def _write_page(
    out: Path, comparisons: "list[Comparison]", costs: "Costs", command: str, notes: list[str]
) -> None:
    from wsss_lightning.report import tables
    from wsss_lightning.report.page import page, section
    from wsss_lightning.report.pictures import remove_others

    stem = out.name.removesuffix(out.suffix) if out.suffix in SUFFIXES else out.name
    folder = out.with_name(f"{stem}_files")
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"{folder} is a file, but pictures of the page in full size go into a folder of that "
            "name; rename it, or choose another page by --out FILE."
        )
    sections = [section(comparison, folder) for comparison in comparisons]
    parts = {
        ".html": page(sections, costs, command, folder.name, notes),
        ".md": tables.markdown(comparisons),
        ".tex": tables.latex(comparisons),
    }
    for suffix, text in parts.items():
        path = out.with_name(stem + suffix)
        write_atomically(path, partial(_write, text))
        print(f"{suffix[1:]:<5} {path}")
    write_table(out.with_name(f"{stem}.csv"), tables.every_score(comparisons))
    print(f"csv   {out.with_name(f'{stem}.csv')}")
    remove_others(folder, {name for shown in sections for name in shown.pictures})
    if folder.is_dir():
        print(f"jpg   {folder}, pictures of the page in full size")


def _write(text: str, file: BinaryIO) -> None:
    file.write(text.encode())


def _step(told: str | None, found: Sequence[DataSet]) -> tuple[str, str] | None:
    """What `--step` means, where some method was scored there."""
    if told is None:
        return None
    methods = [method for data in found for method in data.methods]
    known = sorted({"/".join(step) for method in methods for step in method.steps()})
    if told not in known:
        raise InputError(f"--step is {told}, where nothing was scored; {did_you_mean(told, known)}")
    step, _, split = told.rpartition("/")
    return step, split


def _own(baseline: str | None, data: DataSet) -> str | None:
    """The baseline, where this data set has such a method."""
    return baseline if baseline in [method.name for method in data.methods] else None


if __name__ == "__main__":
    main()
