"""Prints `python -m wsss_lightning --help`."""

import re

from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from wsss_lightning.cli.options import group_names, options
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.utils.console import console, print_plain

EXAMPLES = """\
experiment=cam data=voc2012 data.root=DIR    train and evaluate on Pascal VOC
experiment=cam --cfg job                     print every key and its value
experiment=cam -m seed=0,1,2                 several runs, one after the other
--config-dir DIR                             use your own files of any group
--hydra-help                                 all options of Hydra"""


def print_help() -> None:
    """Print experiments with one line each, the other groups, and examples."""
    console.print("Weakly supervised semantic segmentation from image-level labels or boxes.\n")
    console.print("[bold]python -m wsss_lightning experiment=NAME [KEY=VALUE ...][/]\n")
    experiments = Table(box=None, show_header=False, padding=(0, 2))
    for name in options("experiment"):
        experiments.add_row(f"[bold]experiment={name}[/]", escape(_description(name)))
    console.print(experiments)
    console.print()
    groups = Table(box=None, show_header=False, padding=(0, 2))
    for group in sorted(group_names()):
        if group not in ("experiment", "recipe"):  # experiments choose their recipe
            groups.add_row(f"{group}=", ", ".join(options(group)))
    console.print(groups)
    console.print(Panel(EXAMPLES, title="examples", expand=False))
    print_plain("\nPublished settings with their sources: python -m wsss_lightning.recipes [NAME]")


def _description(experiment: str) -> str:
    """The first comment in the file of an experiment."""
    lines = (conf_folder() / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    return next((line[2:] for line in lines if re.match(r"# (?!@)", line)), "")
