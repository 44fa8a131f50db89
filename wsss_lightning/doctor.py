"""Former name of `python -m wsss_lightning.cli.check_data`."""

from wsss_lightning.cli.check_data import main

if __name__ == "__main__":
    main()
