"""Former name of `python -m wsss_lightning import-weights`."""

import sys

from wsss_lightning.__main__ import main

if __name__ == "__main__":
    main(["import-weights", *sys.argv[1:]])
