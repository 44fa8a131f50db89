"""Fills the tables of READMEs with what was recorded, so that no result is typed by hand.

    python experiments/tables.py            # all READMEs of this repository
    python experiments/tables.py --check    # say which are not what was recorded

A table stands between two comments. The first says what it holds, as YAML: `records`, a folder
that `python -m wsss_lightning.report --keep` wrote, relative to experiments/; `rows`, methods of
the report by what they are called here; `columns`, headings and what stands below them: a score's
key or several with blanks between, `hours` of annotation, `runs`, or `share METHOD` of a method's
network on val. A row can also be a mapping: text by heading, and `method` for all other columns.
With `score`, a score's key, rows are data sets of the records and columns methods.
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
from wsss_lightning.report.runs import Method, find_runs, group
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
    """A README with its tables made anew."""
    return TABLE.sub(lambda found: found[1] + table(found[2]) + found[3], text)


def table(said: str) -> str:
    """A Markdown table, as its comment says."""
    wanted = yaml.safe_load(said)
    data = recorded(HERE / wanted["records"])
    rows = [row for row in wanted["rows"].values() if isinstance(row, dict)]
    lines = [
        ["", *wanted["columns"]],
        ["---", *(_alignment(heading, rows) for heading in wanted["columns"])],
    ]
    for title, name in wanted["rows"].items():
        if "score" in wanted:
            methods = called(name, data, wanted["records"])
            row = [
                figure(called(what, methods, name), wanted["score"])
                for what in wanted["columns"].values()
            ]
        else:
            (methods,) = data.values()
            texts = name if isinstance(name, dict) else {"method": name}
            row = [
                texts[heading]
                if heading in texts
                else cell(called(texts["method"], methods, wanted["records"]), what, methods)
                for heading, what in wanted["columns"].items()
            ]
        lines.append([title, *row])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _alignment(heading: str, rows: list[dict[str, str]]) -> str:
    """Columns of text begin at the left, all others end at the right."""
    return "---" if rows and all(heading in row for row in rows) else "---:"


@cache
def recorded(folder: Path) -> dict[str, dict[str, Method]]:
    """Methods by name, of each data set by name."""
    found = group(find_runs([folder]))
    return {data.name: {method.name: method for method in data.methods} for data in found}


def called(name: str, held: dict[str, T], where: str) -> T:
    if name not in held:
        sys.exit(f"{where} has no {name}, but {', '.join(held)}")
    return held[name]


def cell(method: Method, what: str, methods: dict[str, Method]) -> str:
    """What stands in a column of a method; nothing where it was not scored."""
    if what == "runs":
        return str(len(method.runs))
    if what == "hours":
        spent = hours(method.runs[0].results["annotation"], Costs())
        return f"{sum(spent.values()) - spent.get('held_out', 0):.1f}"
    if what.startswith("share "):
        one, whole = (m.figures(NETWORK) for m in (method, methods[what.removeprefix("share ")]))
        return f"{100 * mean(one) / mean(whole):.0f} %" if one else ""
    return " / ".join(map(partial(figure, method), what.split()))


def figure(method: Method, key: str) -> str:
    """Mean over seeds in percent, and the range."""
    values = [100 * value for value in method.figures(key)]
    if not values:
        return "–"
    told = f"{mean(values):.1f}"
    return told if len(values) == 1 else f"{told} ({min(values):.1f} to {max(values):.1f})"


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
    print("\n".join(stale) or "all tables are what was recorded")
    sys.exit(bool(stale) if check else 0)


if __name__ == "__main__":
    main()
