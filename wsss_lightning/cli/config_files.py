"""Checks of the user's own configuration files, before Hydra reads them.

Hydra builds its own parts (callbacks, launchers, loggers of `logging`) before any code of this
package runs, so the targets in these files are checked first.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from wsss_lightning.config.targets import check_allowed
from wsss_lightning.errors import InputError

# targets that Hydra itself may build
HYDRA = ("hydra.", "hydra_plugins.", "optuna.samplers.", "wsss_lightning.cli.sweep.Sweeps")
LOGGING = ("logging.", "colorlog.")


def check_files(folders: Iterable[Path]) -> None:
    """Check all YAML files of folders and of their groups, whether or not they are chosen.

    A file that does not parse is left to Hydra, which reads it only if it is chosen.

    Raises:
        InputError: a file names something that configuration must not build, is not UTF-8, or is
            not a mapping whose `defaults` are a list.
    """
    for folder in folders:
        for pattern in ("*.y*ml", "*/*.y*ml", "*/*/*.y*ml"):
            for path in sorted(folder.glob(pattern)):
                _check_file(path)


def _check_file(path: Path) -> None:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file ({error}); save it as UTF-8.") from error
    except (yaml.YAMLError, ValueError):  # ValueError: an impossible date
        return
    if content is not None and not isinstance(content, dict):
        raise InputError(f"{path} holds no keys; write lines of KEY: VALUE.")
    if content and not isinstance(content.get("defaults", []), list):
        raise InputError(
            f"defaults of {path} are {content['defaults']}, but must be a list, as in "
            "defaults: [voc_layout]."
        )
    for key, name, value in _entries(content, ""):
        place = f"{key} of {path}"
        if name == "_target_" and not str(value).startswith(HYDRA):
            check_allowed(place, str(value))
        # targets that Python's `logging` builds
        handler = name == "()" or (name == "class" and ".handlers." in f".{key}")
        if handler and not str(value).startswith(LOGGING):
            raise InputError(
                f"{place} is {value}, but the names of logging handlers begin with "
                f"{' or '.join(LOGGING)}; name one of these."
            )


def _entries(node: Any, key: str) -> Iterator[tuple[str, str, Any]]:
    """Full key, last part and value of every entry of mappings, in lists too."""
    if isinstance(node, dict):
        for name, value in node.items():
            full = f"{key}.{name}" if key else str(name)
            yield full, str(name), value
            yield from _entries(value, full)
    elif isinstance(node, list):
        for i, item in enumerate(node):
            yield from _entries(item, f"{key}[{i}]")
