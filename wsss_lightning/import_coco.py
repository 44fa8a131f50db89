"""`python -m wsss_lightning.import_coco`: the command in `wsss_lightning.cli.import_coco`."""

from wsss_lightning.cli.import_coco import main

if __name__ == "__main__":
    main()
