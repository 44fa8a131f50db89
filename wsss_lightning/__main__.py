"""Entry of `python -m wsss_lightning` and of the console script: a run, or a verb."""

import sys

from wsss_lightning.utils import interrupts


def main() -> None:
    """Run the command line; handle interrupts from the start, because imports take seconds."""
    interrupts.install()
    try:
        with interrupts.watched():
            from wsss_lightning.cli.verbs import VERBS, run_verb

            arguments = sys.argv[1:]
            if arguments and arguments[0] in VERBS:
                run_verb(arguments[0], arguments[1:])
            else:
                from wsss_lightning.cli.run import main as run

                run()
    except interrupts.Interrupted:
        interrupts.leave()
    interrupts.uninstall()


if __name__ == "__main__":
    main()
