"""`python -m wsss_lightning experiment=cam`"""

from wsss_lightning.cli import main

if __name__ == "__main__":
    main()
