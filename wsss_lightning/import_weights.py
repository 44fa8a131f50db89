"""`python -m wsss_lightning.import_weights`: the command in `wsss_lightning.cli.import_weights`."""

from wsss_lightning.cli.import_weights import main

if __name__ == "__main__":
    main()
