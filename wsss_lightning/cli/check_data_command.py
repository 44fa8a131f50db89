"""`wsss-lightning check-data`: what training would read from a data set."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from wsss_lightning.cli.command import run_command
from wsss_lightning.cli.overrides import options_first
from wsss_lightning.cli.parser import verb_parser
from wsss_lightning.cli.run_arguments import add_run_arguments

DESCRIPTION = """
Report the images, tags, masks and boxes that training would read from a data set. The arguments are
those of a run. Every image and mask of all splits is decoded, and all problems are reported
together.

Exit code 0: no problems; 1: training would reject a file, or scores would be wrong. check_data.json
and check_data.png are written below runs/check_data.
"""
EXAMPLES = (
    "check-data data=voc2012 data.root=DIR workers=8",
    "check-data --config-dir my_conf data=pets data.root=PETS",
)


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    made = verb_parser("check-data", DESCRIPTION, EXAMPLES)
    add_run_arguments(made)
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        SystemExit: the data set has problems.
    """
    given = options_first(list(arguments))
    if {"--help", "-h"} & set(given):
        parser().print_help()
        return
    if not any(argument.startswith("experiment=") for argument in given):
        given.append("experiment=cam")  # required by the configuration, unused by this command
    folder = "${output_dir}/check_data/${run_name:${hydra.overrides.task}}"
    reports: list[dict[str, Any]] = []

    def work(cfg: Any) -> None:
        from wsss_lightning.cli.check_data import check_data

        reports.append(check_data(cfg))

    run_command([*given, f"hydra.run.dir='{folder}'"], work)
    if any(report["problems"] for report in reports):
        sys.exit(1)
