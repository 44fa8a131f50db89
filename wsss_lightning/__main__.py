"""Entry of `python -m wsss_lightning` and of the console script."""

import os
import sys
from collections.abc import Sequence

from wsss_lightning.utils import interrupts


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line; handle interrupts from the start, because imports take seconds.

    Args:
        arguments: a verb with its arguments, or those of a run; None: as typed.
    """
    interrupts.install()
    try:
        with interrupts.watched():
            if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions
                from wsss_lightning.cli.completion import complete

                complete()
            from wsss_lightning.cli.verbs import run_command_line

            run_command_line(sys.argv[1:] if arguments is None else arguments)
    except interrupts.Interrupted:
        interrupts.leave()
    interrupts.uninstall()


if __name__ == "__main__":
    main()
