"""What a command tells the Python process that started it: folders of runs, or an error.

`wsss_lightning.run` names a file in an environment variable. The command takes the variable from
its environment, so that processes that it starts itself do not write the file.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from wsss_lightning.utils.files import write_json

VARIABLE: Final = "WSSS_HANDOVER"

_file = os.environ.pop(VARIABLE, None)


def hand_over_folders(folders: Iterable[Path]) -> None:
    """Tell the folders of finished runs."""
    if _file is not None:
        write_json(Path(_file), {"folders": [str(folder.absolute()) for folder in folders]})


def hand_over_error(message: str) -> bool:
    """Tell the error that ends this command.

    Returns:
        Whether a Python process will raise it, so that it need not be printed.
    """
    if _file is not None:
        write_json(Path(_file), {"error": message})
    return _file is not None
