"""Overrides as a user types them, quoted for the shell only, made ready for Hydra's grammar.

Hydra reads `data.root=/my photos (1)/a=b,c` as an expression: `=`, brackets and commas have a
meaning, and most other letters do not parse. A value that is a path is therefore put into Hydra's
quotes before Hydra reads it. Sweeps, lists, mappings, functions and references stay expressions.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, QuotedString, Sweep
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf

from wsss_lightning.cli.options import Kind, composed, expand_user, group_names, kind_of, quoted
from wsss_lightning.config.renamed import translate_overrides
from wsss_lightning.errors import InputError

# options of Hydra that are followed by a value
WITH_VALUE: tuple[str, ...] = (
    "--config-dir",
    "-cd",
    "--config-name",
    "-cn",
    "--config-path",
    "-cp",
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--experimental-rerun",
)
WITH_PATH = ("--config-dir", "-cd", "--config-path", "-cp")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
MULTIRUN = ("-m", "--multirun")

OVERRIDE = re.compile(r"([+~]{0,2}[^=]*)=(.*)", re.DOTALL)
FUNCTION = re.compile(
    r"\s*(choice|range|interval|glob|sort|shuffle|tag|int|float|str|bool|json_str|extend_list)\(.*",
    re.DOTALL,
)
UNPARSED = object()


def split_options(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Hydra's options, each value behind its option, and overrides.

    Hydra's parser takes all overrides in one piece only, and an override behind `--info` for its
    value.
    """
    options: list[str] = []
    overrides: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("--info", "-i"):
            options.append(f"--info={rest.pop(0) if rest and rest[0] in INFO else INFO[0]}")
        elif word in WITH_VALUE:
            options += [word, *rest[:1]]
            del rest[:1]
        elif word.startswith("-"):
            options.append(word)
        else:
            overrides.append(word)
    return options, overrides


def read_overrides(options: Iterable[str], overrides: Iterable[str]) -> tuple[list[str], list[str]]:
    """Options and overrides with each path as Hydra's grammar takes it, and `~` expanded.

    Raises:
        InputError: an existing path holds `${`, which no quotes keep from being read as a
            reference.
    """
    options, overrides = list(options), translate_overrides(overrides)
    options = [
        _expand_option(before, word) for before, word in zip(["", *options], options, strict=False)
    ]
    multirun = bool(set(MULTIRUN) & set(options))

    @cache
    def configuration() -> DictConfig:
        return composed([*options, *overrides])

    def kind(key: str) -> Kind:
        return kind_of(key, configuration())

    return options, [_read(word, kind, multirun) for word in overrides]


def parsed(word: str) -> Any:
    """The value of an override as Hydra reads it; UNPARSED where it does not parse."""
    try:
        return OverridesParser.create().parse_override(word)._value
    except HydraException:
        return UNPARSED


def as_typed(word: str, cfg: DictConfig) -> str:
    """An override without the quotes that `read_overrides` puts around paths."""
    left, _, _ = word.partition("=")
    value = parsed(word)
    if isinstance(value, QuotedString) and kind_of(left.lstrip("+~"), cfg) == "path":
        return f"{left}={value.text}"
    return word


def expand_home(node: Any) -> None:
    """Expand `~` in every value of a configuration that begins with it, as a shell does."""
    if not isinstance(node, (DictConfig, ListConfig)) or node._is_none() or node._is_missing():
        return
    if node._is_interpolation():
        return
    for key in range(len(node)) if isinstance(node, ListConfig) else list(node):
        child: Any = node._get_node(key)
        if OmegaConf.is_config(child):
            expand_home(child)
        elif isinstance(child._value(), str) and child._value().startswith("~"):
            node[key] = expand_user(child._value())


def exists(value: str) -> bool:
    """Whether a text is the path of a file or folder."""
    try:
        return bool(value.strip()) and Path(value).exists()
    except (OSError, ValueError):  # too long for a name, or with a null byte
        return False


def _expand_option(before: str, word: str) -> str:
    if before in WITH_PATH:
        return expand_user(word)
    name, equals, value = word.partition("=")
    return f"{name}={expand_user(value)}" if equals and name in WITH_PATH else word


def _read(word: str, kind: Callable[[str], Kind], multirun: bool) -> str:
    match = OVERRIDE.fullmatch(word)
    if match is None:
        return word
    left, value = match[1], expand_user(match[2])
    key = left.lstrip("+~")
    if not value.strip("'\" "):
        if kind(key) == "path":
            raise InputError(f"{key} is empty, but it names a folder or file: {key}=PATH")
        return word
    if key.partition("@")[0] in group_names() or "/" in key:
        return word  # options of groups are names
    found, there = parsed(f"{left}={value}"), exists(value)
    if there and "${" in value:
        raise InputError(
            f"{key} is {value}, but ${{ begins a reference in the configuration, and quotes do "
            "not change that; rename the folder, or name it by a link: ln -s FOLDER LINK."
        )
    if isinstance(found, QuotedString) or (isinstance(found, str) and found == value):
        return f"{left}={value}"
    if isinstance(found, Sweep):
        return f"{left}={_swept(key, value, found, there, kind, multirun)}"
    if found is not UNPARSED and not isinstance(found, str):
        # a number, null, a list: a path only where there is a folder of this name
        return f"{left}={quoted(value)}" if there and kind(key) == "path" else word
    holds = kind(key)
    if holds == "other" or (found is not UNPARSED and not there):
        return f"{left}={value}"
    expression = FUNCTION.match(value) or (holds == "text" and value.lstrip()[0] in "[{")
    if not there and expression:
        return f"{left}={value}"  # a slip in it, which is reported when it is parsed
    if multirun and "," in value and not there:
        return f"{left}={_elements(value)}"
    return f"{left}={quoted(value)}"


def _swept(
    key: str,
    value: str,
    sweep: Sweep,
    there: bool,
    kind: Callable[[str], Kind],
    multirun: bool,
) -> str:
    """A value with a comma, or one of Hydra's functions, unless it is a path."""
    simple = isinstance(sweep, ChoiceSweep) and sweep.simple_form
    if not (simple or there) or kind(key) == "other":
        return value
    if there or not multirun:
        return quoted(value) if there or kind(key) == "path" else value
    if kind(key) == "path" and not re.search("['\"]", value):
        return _elements(value)
    return value


def _elements(value: str) -> str:
    """Paths of a sweep, each quoted; a comma within one that exists separates nothing."""
    pieces, paths = value.split(","), []
    while pieces:
        lengths = range(len(pieces), 1, -1)
        length = next((n for n in lengths if exists(_joined(pieces[:n]))), 1)
        paths.append(quoted(_joined(pieces[:length])))
        del pieces[:length]
    return ",".join(paths)


def _joined(pieces: list[str]) -> str:
    return expand_user(",".join(pieces).strip())
