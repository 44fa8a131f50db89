"""Fill the tables of READMEs from recorded results, so that no score is typed by hand.

    python experiments/tables.py            # all READMEs of this repository
    python experiments/tables.py --check    # list the READMEs that differ from the records

A table is placed between two comments. The first one describes it in YAML: `records`, a folder that
`python -m wsss_lightning report --keep` wrote, relative to experiments/; `rows`, titles with names
of methods in the report; `columns`, headings with contents: the keys of one or more scores,
separated by spaces, `hours` of annotation, `runs`, or `share METHOD` of a method's network on val.
A row may also be a mapping: text by heading, and `method` for all other columns.
With `score`, the key of a score, rows are data sets of the records and columns are methods.
"""

import argparse
import re
import sys
from functools import cache, partial
from pathlib import Path
from statistics import mean
from typing import TypeVar

import yaml

from wsss_lightning.report.annotation_cost import Costs, hours
from wsss_lightning.report.grouping import group
from wsss_lightning.report.methods import Method
from wsss_lightning.report.runs import find_runs
from wsss_lightning.utils.files import write_text

HERE = Path(__file__).parent
READMES = (
    HERE.parent / "README.md",
    *sorted(HERE.glob("*/README.md")),
    *sorted(HERE.parent.glob("docs/**/*.md")),
    *sorted(HERE.parent.glob("wsss_lightning/methods/*/README.md")),
)
TABLE = re.compile(r"(<!-- table\n(.*?)-->\n).*?(<!-- end of table -->)", re.DOTALL)
NETWORK = "segmentation/val/miou"
T = TypeVar("T")


def filled(text: str) -> str:
    """A README with its tables filled from the records."""
    return TABLE.sub(lambda match: match[1] + table(match[2]) + match[3], text)


def table(description: str) -> str:
    """A Markdown table, described in YAML."""
    spec = yaml.safe_load(description)
    data = recorded(HERE / spec["records"])
    rows = [row for row in spec["rows"].values() if isinstance(row, dict)]
    lines = [
        ["", *spec["columns"]],
        ["---", *(_alignment(heading, rows) for heading in spec["columns"])],
    ]
    for title, name in spec["rows"].items():
        if "score" in spec:
            methods = by_name(name, data, spec["records"])
            row = [
                percent(by_name(column, methods, name), spec["score"])
                for column in spec["columns"].values()
            ]
        else:
            (methods,) = data.values()
            texts = name if isinstance(name, dict) else {"method": name}
            row = [
                texts[heading]
                if heading in texts
                else cell(by_name(texts["method"], methods, spec["records"]), column, methods)
                for heading, column in spec["columns"].items()
            ]
        lines.append([title, *row])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _alignment(heading: str, rows: list[dict[str, str]]) -> str:
    """Alignment of a column: text to the left, everything else to the right."""
    return "---" if rows and all(heading in row for row in rows) else "---:"


@cache
def recorded(folder: Path) -> dict[str, dict[str, Method]]:
    """Methods by name, for each data set by name."""
    data_sets = group(find_runs([folder]))
    return {data.name: {method.name: method for method in data.methods} for data in data_sets}


def by_name(name: str, known: dict[str, T], where: str) -> T:
    """An entry by its name; exits with a message if there is none."""
    if name not in known:
        sys.exit(f"{where} has no {name}; choose from {', '.join(known)}")
    return known[name]


def cell(method: Method, column: str, methods: dict[str, Method]) -> str:
    """Content of a method's cell; empty if it was not scored."""
    if column == "runs":
        return str(len(method.runs))
    if column == "hours":
        by_kind = hours(method.runs[0].results.annotation, Costs())
        return f"{sum(by_kind.values()) - by_kind.get('held_out', 0):.1f}"
    if column.startswith("share "):
        other = methods[column.removeprefix("share ")]
        one, whole = (m.scores(NETWORK) for m in (method, other))
        return f"{100 * mean(one) / mean(whole):.0f} %" if one else ""
    return " / ".join(map(partial(percent, method), column.split()))


def percent(method: Method, key: str) -> str:
    """Mean of a score over seeds in percent, and its range."""
    values = [100 * value for value in method.scores(key)]
    if not values:
        return "–"
    average = f"{mean(values):.1f}"
    return average if len(values) == 1 else f"{average} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = []
    for path in READMES:
        text = path.read_text(encoding="utf-8")
        new = filled(text)
        if new != text:
            stale.append(str(path))
            if not check:
                write_text(path, new)
    print("\n".join(stale) or "all tables agree with the records")
    sys.exit(bool(stale) if check else 0)


if __name__ == "__main__":
    main()
