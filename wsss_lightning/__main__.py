"""`python -m wsss_lightning experiment=cam`, and the console script."""

from wsss_lightning.utils import interrupts


def main() -> None:
    """Run the command line; imports take seconds, in which an interrupt is answered as well."""
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
