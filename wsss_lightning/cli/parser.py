"""The argument parser of every verb, so that all verbs look alike."""

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from wsss_lightning.errors import closest

MAX_WIDTH = 100  # columns


class VerbParser(argparse.ArgumentParser):
    """Parser whose help fits the terminal, and whose errors name the closest option."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Reject misspelt options first: argparse would complain about missing arguments."""
        given = list(sys.argv[1:] if args is None else args)
        known = [option for action in self._actions for option in action.option_strings]
        for argument in given[: given.index("--") if "--" in given else None]:
            name = argument.partition("=")[0]
            if name.startswith("--") and name not in known:
                near = closest(name, [one for one in known if one.startswith("--")])
                hint = f"did you mean {near}?" if near else f"{self.prog} --help lists all options."
                self.error(f"{name} is not an option; {hint}")
        return super().parse_known_args(given, namespace)


def verb_parser(verb: str, description: str, examples: Sequence[str] = ()) -> VerbParser:
    """Parser of a verb.

    Args:
        verb: as in `VERBS`.
        description: what the command does and what it writes; paragraphs are separated by an empty
            line.
        examples: commands without the program's name, such as `report runs --out runs.html`.
    """
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)

    def formatter(prog: str) -> argparse.HelpFormatter:
        return argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=min(30, width // 3), width=width
        )

    paragraphs = [" ".join(part.split()) for part in description.strip().split("\n\n")]
    lines = "\n".join(_command(example, width) for example in examples)
    return VerbParser(
        prog=f"wsss-lightning {verb}",
        description="\n\n".join(
            textwrap.fill(part, width, break_on_hyphens=False) for part in paragraphs
        ),
        epilog=f"examples:\n{lines}" if lines else None,
        formatter_class=formatter,
        allow_abbrev=False,
    )


def _command(arguments: str, width: int) -> str:
    """A command that can be copied; long ones are continued, but not behind an option's name."""
    command = re.sub(r"(?<= )(-\S+) (?!-)", "\\1\0", f"wsss-lightning {arguments}")
    parts = textwrap.wrap(command, width - 8, break_long_words=False, break_on_hyphens=False)
    return "  " + " \\\n      ".join(parts).replace("\0", " ")
