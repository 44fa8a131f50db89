"""Quotes paths for Hydra, so that users only need to quote them for the shell.

Hydra parses `data.root=/my photos (1)/a=b,c` as an expression: `=`, brackets and commas have a
meaning, and most other special characters are errors. Values that are paths are therefore put into
Hydra's quotes before Hydra reads them. Sweeps, lists, mappings, functions and references stay
expressions.
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

# options of Hydra that take a value
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


def split_options(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Hydra's options, each followed by its value, and overrides.

    Hydra's parser needs all overrides in a row, and takes one after `--info` for the value of
    `--info`.
    """
    options: list[str] = []
    overrides: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument in ("--info", "-i"):
            options.append(f"--info={rest.pop(0) if rest and rest[0] in INFO else INFO[0]}")
        elif argument in WITH_VALUE:
            options += [argument, *rest[:1]]
            del rest[:1]
        elif argument.startswith("-"):
            options.append(argument)
        else:
            overrides.append(argument)
    return options, overrides


def options_first(arguments: list[str]) -> list[str]:
    """Arguments in the order that Hydra's parser needs: options before overrides."""
    options, overrides = split_options(arguments)
    return options + overrides


def read_overrides(options: Iterable[str], overrides: Iterable[str]) -> tuple[list[str], list[str]]:
    """Options and overrides with paths quoted for Hydra and `~` expanded.

    Raises:
        InputError: an existing path contains `${`, which Hydra reads as a reference even in quotes.
    """
    options, overrides = list(options), translate_overrides(overrides)
    options = [
        _expand_option(before, option)
        for before, option in zip(["", *options], options, strict=False)
    ]
    multirun = bool(set(MULTIRUN) & set(options))

    @cache
    def configuration() -> DictConfig:
        return composed([*options, *overrides])

    def kind(key: str) -> Kind:
        return kind_of(key, configuration())

    return options, [_read(override, kind, multirun) for override in overrides]


def parsed(override: str) -> Any:
    """The value of an override as Hydra reads it; UNPARSED if it cannot be parsed."""
    try:
        return OverridesParser.create().parse_override(override)._value
    except HydraException:
        return UNPARSED


def as_typed(override: str, cfg: DictConfig) -> str:
    """An override without the quotes that `read_overrides` puts around paths."""
    prefixed_key, _, _ = override.partition("=")
    value = parsed(override)
    if isinstance(value, QuotedString) and kind_of(prefixed_key.lstrip("+~"), cfg) == "path":
        return f"{prefixed_key}={value.text}"
    return override


def expand_home(node: Any) -> None:
    """Expand a leading `~` in every value of a configuration, as a shell does."""
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
    except (OSError, ValueError):  # the name is too long, or holds a null byte
        return False


def _expand_option(before: str, option: str) -> str:
    if before in WITH_PATH:
        return expand_user(option)
    name, equals, value = option.partition("=")
    return f"{name}={expand_user(value)}" if equals and name in WITH_PATH else option


def _read(override: str, kind: Callable[[str], Kind], multirun: bool) -> str:
    match = OVERRIDE.fullmatch(override)
    if match is None:
        return override
    prefixed_key, value = match[1], expand_user(match[2])
    key = prefixed_key.lstrip("+~")
    if not value.strip("'\" "):
        if kind(key) == "path":
            raise InputError(f"{key} is empty, but must be a folder or file: {key}=PATH")
        return override
    if key.partition("@")[0] in group_names() or "/" in key:
        return override  # options of groups are names
    content, is_path = parsed(f"{prefixed_key}={value}"), exists(value)
    if is_path and "${" in value:
        raise InputError(
            f"{key} is {value}, but ${{ begins a reference in the configuration, even in quotes; "
            "rename the folder, or make a link to it: ln -s FOLDER LINK."
        )
    if isinstance(content, QuotedString) or (isinstance(content, str) and content == value):
        return f"{prefixed_key}={value}"
    if isinstance(content, Sweep):
        return f"{prefixed_key}={_swept(key, value, content, is_path, kind, multirun)}"
    if content is not UNPARSED and not isinstance(content, str):
        # a number, null or a list, unless there is a folder of this name
        return f"{prefixed_key}={quoted(value)}" if is_path and kind(key) == "path" else override
    key_kind = kind(key)
    if key_kind == "other" or (content is not UNPARSED and not is_path):
        return f"{prefixed_key}={value}"
    is_expression = FUNCTION.match(value) or (key_kind == "text" and value.lstrip()[0] in "[{")
    if not is_path and is_expression:
        return f"{prefixed_key}={value}"  # its syntax error is reported when Hydra parses it
    if multirun and "," in value and not is_path:
        return f"{prefixed_key}={_elements(value)}"
    return f"{prefixed_key}={quoted(value)}"


def _swept(
    key: str,
    value: str,
    sweep: Sweep,
    is_path: bool,
    kind: Callable[[str], Kind],
    multirun: bool,
) -> str:
    """A value that Hydra reads as a sweep, quoted if it is a path or several paths."""
    is_simple = isinstance(sweep, ChoiceSweep) and sweep.simple_form
    if not (is_simple or is_path) or kind(key) == "other":
        return value
    if is_path or not multirun:
        return quoted(value) if is_path or kind(key) == "path" else value
    if kind(key) == "path" and not re.search("['\"]", value):
        return _elements(value)
    return value


def _elements(value: str) -> str:
    """Paths of a sweep, each quoted; a path that exists may hold commas."""
    pieces, paths = value.split(","), []
    while pieces:
        lengths = range(len(pieces), 1, -1)
        length = next((n for n in lengths if exists(_joined(pieces[:n]))), 1)
        paths.append(quoted(_joined(pieces[:length])))
        del pieces[:length]
    return ",".join(paths)


def _joined(pieces: list[str]) -> str:
    return expand_user(",".join(pieces).strip())
