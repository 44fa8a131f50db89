"""Configuration files of the user's, looked at before Hydra reads them.

Hydra builds its own parts (callbacks, launchers, loggers of `logging`) before any code of ours
runs, and YAML that refers to itself grows without bound when it is read.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from wsss_lightning.config.schema import ALLOWED
from wsss_lightning.errors import InputError

MOST_BYTES = 1 << 20
MOST_NODES = 100_000  # with all references written out
MOST_LEVELS = 50

# what Hydra itself may build
HYDRA = ("hydra.", "hydra_plugins.", "optuna.samplers.", "wsss_lightning.cli.sweep.Sweeps")
LOGGING = ("logging.", "colorlog.")


def check_files(folders: Iterable[Path]) -> None:
    """Look at the YAML of folders and of the groups in them, whichever are chosen.

    Raises:
        InputError: a file is too large, nested too deep or refers to itself, or names something
            to build that configuration must not build. One that does not parse is left to Hydra,
            which needs it only if it is chosen.
    """
    for folder in folders:
        for pattern in ("*.y*ml", "*/*.y*ml", "*/*/*.y*ml"):
            for path in sorted(folder.glob(pattern)):
                _check_file(path)


def _check_file(path: Path) -> None:
    if path.stat().st_size > MOST_BYTES:
        raise InputError(
            f"{path} has {path.stat().st_size} bytes, but a configuration file has at most "
            f"{MOST_BYTES}; take it out of the folder of configuration files."
        )
    try:
        text = path.read_text(encoding="utf-8")
        levels, nodes = extent(text)
        if levels > MOST_LEVELS or nodes > MOST_NODES:
            raise InputError(
                f"{path} is nested in {levels} levels and has {nodes} nodes where references are "
                f"written out, but at most {MOST_LEVELS} and {MOST_NODES} are read; write it "
                "without anchors."
            )
        content = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text ({error}); save it as UTF-8.") from error
    # ValueError: numbers and dates that cannot be
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        return
    if content is not None and not isinstance(content, dict):
        raise InputError(
            f"{path} holds {str(content)[:80]}, but a configuration file has lines of KEY: VALUE; "
            "mend it."
        )
    if content and not isinstance(content.get("defaults", []), list):
        raise InputError(
            f"{path} has defaults that are {content['defaults']}, but they are a list, as in "
            "defaults: [voc_layout]; mend it, or leave it out."
        )
    for key, name, allowed in _built(content, ""):
        if not name.startswith(allowed):
            raise InputError(
                f"{path} sets {key} to {name[:80]}, but configuration may only build what starts "
                f"with {', '.join(allowed)}; take it out, or read what it would run."
            )


def extent(text: str) -> tuple[int, int]:
    """Levels and nodes of YAML with all references written out, told without writing them out.

    Raises:
        yaml.YAMLError: the text does not parse.
    """
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []  # anchor of an unfinished node, nodes before it
    levels = nodes = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            # one that is not finished holds itself
            nodes += sizes.get(event.anchor, MOST_NODES + 1)
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, nodes))
            nodes += 1
            levels = max(levels, len(opened))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor:
                sizes[anchor] = nodes - before
        if levels > MOST_LEVELS or nodes > MOST_NODES:
            break
    return levels, nodes


def _built(node: Any, key: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Key, name and what is allowed of what Hydra or `logging` would build."""
    if isinstance(node, dict):
        for name, value in node.items():
            place = f"{key}.{name}" if key else str(name)
            if name == "_target_":
                yield place, str(value), (*ALLOWED, *HYDRA)
            elif name == "()" or (name == "class" and ".handlers." in f".{place}"):
                yield place, str(value), LOGGING
            yield from _built(value, place)
    elif isinstance(node, list):
        for i, item in enumerate(node):
            yield from _built(item, f"{key}[{i}]")
