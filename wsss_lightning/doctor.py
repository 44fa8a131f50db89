"""Former name of `python -m wsss_lightning check-data`."""

import sys

from wsss_lightning.__main__ import main

if __name__ == "__main__":
    main(["check-data", *sys.argv[1:]])
