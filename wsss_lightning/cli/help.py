"""Prints `wsss-lightning --help`."""

from collections.abc import Iterable

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from wsss_lightning.cli.options import group_summaries, option_summary, options
from wsss_lightning.cli.verbs import VERBS
from wsss_lightning.utils.console import console

EXAMPLES = (
    ("experiment=cam", "generated data, a few minutes"),
    ("experiment=cam --cfg job", "print every key and its value"),
    ("experiment=cam,seam seed=0,1 -m", "several runs, then: report runs/sweep"),
    ("--config-dir DIR ...", "use your own files of any group"),
    ("help report", "options of a verb"),
)
NARROW = 60  # columns; below, a description stands under its name


def print_help() -> None:
    """Print verbs, experiments and groups with one line each, and examples."""
    console.print("Weakly supervised semantic segmentation from image-level labels or boxes.\n")
    console.print("[bold]wsss-lightning experiment=NAME \\[KEY=VALUE ...][/]")
    console.print("[bold]wsss-lightning VERB \\[ARGUMENTS ...][/]")
    _section("verbs", ((name, verb.summary) for name, verb in VERBS.items()))
    names = options("experiment")
    _section(
        "experiments: experiment=NAME",
        ((name, option_summary("experiment", name)) for name in names),
    )
    # without `recipe`, which experiments choose
    groups = sorted(group_summaries().items())
    _section(
        "groups: GROUP=NAME",
        (
            (name, f"{text}: {', '.join(options(name))}")
            for name, text in groups
            if name != "experiment"
        ),
    )
    _section("examples", EXAMPLES)
    end = "\nEvery verb has --help. --hydra-help lists further options of a run."
    console.print(end, highlight=False)


def _section(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print a heading and rows of a name and its description."""
    console.print(f"\n[bold]{title}[/]")
    rows = list(rows)
    if console.width < NARROW:
        for name, text in rows:
            console.print(Padding(f"[cyan]{escape(name)}[/]", (0, 0, 0, 2)), highlight=False)
            console.print(Padding(escape(text), (0, 0, 0, 4)), highlight=False)
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(width=2)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for name, text in rows:
        table.add_row("", escape(name), escape(text))
    console.print(table, highlight=False)
