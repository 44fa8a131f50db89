"""The verbs of the command line: `wsss-lightning predict ...`.

Nothing here imports PyTorch, so that help and errors appear at once.
"""

import importlib
from collections.abc import Sequence
from typing import Final, NamedTuple


class Verb(NamedTuple):
    """A command of its own.

    Attributes:
        module: module whose `main(arguments)` runs the command.
        summary: one line for `--help`.
    """

    module: str
    summary: str


VERBS: Final = {
    "report": Verb("wsss_lightning.report.__main__", "compare finished runs on one HTML page"),
    "check-data": Verb("wsss_lightning.cli.check_data", "list every problem of a data set"),
    "import-coco": Verb("wsss_lightning.cli.import_coco", "convert COCO to our layout"),
    "export-masks": Verb(
        "wsss_lightning.cli.export_masks", "write masks for COCO, YOLO, VOC, CVAT, labelme, ..."
    ),
    "import-masks": Verb(
        "wsss_lightning.cli.import_masks", "read masks that were corrected in a labelling tool"
    ),
    "import-weights": Verb(
        "wsss_lightning.cli.import_weights", "convert official weights of PSA, IRN or DeepLab"
    ),
    "recipes": Verb("wsss_lightning.recipes.__main__", "published settings and their sources"),
}


def run_verb(name: str, arguments: Sequence[str]) -> None:
    """Run the command of a verb.

    Args:
        name: a key of `VERBS`.
        arguments: arguments that follow the verb.
    """
    importlib.import_module(VERBS[name].module).main(arguments)
