"""The argument parser of every verb, so that all verbs look alike."""

import argparse
import shutil
import textwrap
from collections.abc import Sequence
from typing import NoReturn

from wsss_lightning.errors import closest

MAX_WIDTH = 100  # columns


class VerbParser(argparse.ArgumentParser):
    """Parser whose help fits the terminal, and whose errors name the closest option."""

    def error(self, message: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        wrong = message.removeprefix("unrecognized arguments: ").split()
        if message.startswith("unrecognized") and wrong[0].startswith("-"):
            near = closest(wrong[0].partition("=")[0], [one for one in known if len(one) > 2])
            hint = f"did you mean {near}?" if near else f"{self.prog} --help lists all options."
            message = f"{message}; {hint}"
        super().error(message)


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
    lines = "\n".join(f"  wsss-lightning {example}" for example in examples)
    return VerbParser(
        prog=f"wsss-lightning {verb}",
        description="\n\n".join(
            textwrap.fill(part, width, break_on_hyphens=False) for part in paragraphs
        ),
        epilog=f"examples:\n{lines}" if lines else None,
        formatter_class=formatter,
        allow_abbrev=False,
    )
