"""Entry of `python -m wsss_lightning experiment=cam` and of the console script."""

from wsss_lightning.utils import interrupts


def main() -> None:
    """Run the command line; handle interrupts from the start, because imports take seconds."""
    interrupts.install()
    try:
        with interrupts.watched():
            from wsss_lightning.cli.run import main as run

            run()
    except interrupts.Interrupted:
        interrupts.leave()
    interrupts.uninstall()


if __name__ == "__main__":
    main()
