"""`python -m wsss_lightning.report RUNS...`: finished runs as one page, and tables of them."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from wsss_lightning.cli import complain
from wsss_lightning.data.scores import write_table, write_whole
from wsss_lightning.errors import InputError
from wsss_lightning.report.reading import DataSet, find_runs, group


def main(words: Sequence[str] | None = None) -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(prog="python -m wsss_lightning.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, or above them")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page")
    parser.add_argument("--baseline", help="method that the others are held against")
    parser.add_argument("--costs", type=Path, help="YAML file of seconds a unit of annotation")
    parser.add_argument("--charts", type=Path, help="folder for the page's charts as PNG files")
    told = parser.parse_args(words)
    said = shlex.join(["python", "-m", "wsss_lightning.report", *(words or sys.argv[1:])])
    try:
        make(told.runs, told.out, told.baseline, told.costs, told.charts, said)
    except InputError as error:
        complain(str(error))


def make(
    runs: Sequence[Path],
    out: Path,
    baseline: str | None,
    costs_file: Path | None,
    charts: Path | None,
    command: str,
) -> None:
    """Write the page, and beside it the tables as Markdown and LaTeX, and every score as CSV.

    Where a folder is given for them, the charts of the page lie there as `<data>_<chart>.png`.

    Raises:
        InputError: runs, baseline or costs cannot be used, or the page's folder is not there.
    """
    from wsss_lightning.callbacks.charts import save_chart
    from wsss_lightning.report import tables
    from wsss_lightning.report.comparison import Comparison
    from wsss_lightning.report.ledger import read_costs
    from wsss_lightning.report.page import page, section

    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is no folder; make it, or choose another by --out FILE.")
    costs = read_costs(costs_file)
    comparisons = [Comparison(data, _own(baseline, data), costs) for data in group(find_runs(runs))]
    if baseline and all(baseline != c.baseline.name for c in comparisons):
        raise InputError(
            f"--baseline is {baseline}, but the methods are "
            f"{', '.join(m.name for c in comparisons for m in c.data.methods)}."
        )
    sections = [section(comparison) for comparison in comparisons]
    html = page(sections, costs, command)
    parts = {
        ".html": html,
        ".md": tables.markdown(comparisons),
        ".tex": tables.latex(comparisons),
    }
    for suffix, text in parts.items():
        path = out.with_suffix(suffix)
        write_whole(path, partial(_write, text))
        print(f"{suffix[1:]:<5} {path}")
    write_table(out.with_suffix(".csv"), tables.every_score(comparisons))
    print(f"csv   {out.with_suffix('.csv')}")
    if charts is not None:
        charts.mkdir(parents=True, exist_ok=True)
        for found in sections:
            for name, chart in found.charts.items():
                path = charts / f"{found.comparison.data.name}_{name}.png"
                save_chart(chart, path)
                print(f"png   {path}")


def _write(text: str, file: BinaryIO) -> None:
    file.write(text.encode())


def _own(baseline: str | None, data: DataSet) -> str | None:
    """The baseline, where this data set has such a method."""
    return baseline if baseline in [method.name for method in data.methods] else None


if __name__ == "__main__":
    main()
