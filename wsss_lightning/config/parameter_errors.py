"""Configuration keys for the errors of constructors, which know only their own parameters.

Other floors raise `ValueError("beta must be >= 0, got -1; 8 is usual")` or
`ValueError("beta is -1, but must be >= 0")`. Where the value came from the configuration, the
message becomes "refine.walk.beta is -1, but must be >= 0; 8 is usual.".
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wsss_lightning.errors import InputError

MESSAGES = (
    re.compile(
        r"(?P<name>\w+) must (?P<expected>.+), got (?P<value>.+?)(?:; (?P<hint>.+))?", re.DOTALL
    ),
    re.compile(
        r"(?P<name>[\w.]+) is (?P<value>.+?), but must (?P<expected>.+)(?P<hint>)", re.DOTALL
    ),
)
REFERENCE = re.compile(r"\$\{([\w.]+)\}")


@contextmanager
def parameters_as_keys(node: DictConfig, key: str = "") -> Iterator[None]:
    """Convert a ValueError about a parameter that `node` sets into an InputError about its key.

    An InputError about something else, such as a file, is passed on.

    Args:
        node: configuration node from which an object is built.
        key: key of the node, where it is a copy outside of the configuration.

    Raises:
        InputError: the body raised a ValueError about a parameter that `node` sets.
    """
    try:
        yield
    except Exception as error:
        cause = _value_error(error)
        if cause is None:
            raise
        message = with_key(str(cause), node, key)
        if message is None and isinstance(cause, InputError):
            raise cause from None
        place = key or node._get_full_key(None)
        raise InputError(message or f"{place}: {cause}") from error


def with_key(message: str, node: DictConfig, prefix: str = "") -> str | None:
    """Replace the parameter in a message by the configuration key that sets it.

    Args:
        message: "PARAMETER must EXPECTED, got VALUE; HINT" or "PARAMETER is VALUE, but must
            EXPECTED".
        node: node that gives the parameter, itself or further below.
        prefix: key of the node, where it is a copy outside of the configuration.

    Returns:
        None where the message has another form, or no key below `node` has the parameter's name.
    """
    match = next(filter(None, (form.fullmatch(message) for form in MESSAGES)), None)
    if match is None:
        return None
    keys = list(_keys_of(match["name"].rpartition(".")[2], node))
    if not keys:
        return None
    # a name may occur at several depths: the value decides which is meant, else the uppermost
    key = next((key for key, value in keys if str(value) == match["value"]), keys[0][0])
    value = {"None": "null", "True": "true", "False": "false"}.get(match["value"], match["value"])
    if prefix:
        key = f"{prefix}.{key}"
    hint = f"; {match['hint']}" if match["hint"] else ""
    text = f"{key} is {value}, but must {match['expected']}{hint}".rstrip(".")
    return text if text.endswith("?") else f"{text}."


def _value_error(error: BaseException | None) -> ValueError | None:
    """The ValueError below an error; Hydra wraps what a constructor raises in errors of its own."""
    while error is not None:
        if isinstance(error, ValueError) and not isinstance(error, OmegaConfBaseException):
            return error
        error = error.__cause__
    return None


def _keys_of(name: str, node: DictConfig) -> Iterator[tuple[str, Any]]:
    """Key and value of every entry called `name`, the uppermost first; references are followed."""
    root: Any = node._get_root()
    level: list[DictConfig] = [node]
    visited: set[int] = set()
    while level:
        below: list[DictConfig] = []
        for parent in level:
            for entry in parent:
                child: Any = parent._get_node(entry)
                key = child._get_full_key(None)
                if child._is_interpolation():
                    reference = REFERENCE.fullmatch(str(child._value()))
                    key = reference[1] if reference else key
                    child = OmegaConf.select(root, key) if reference else None
                if entry == name:
                    yield key, OmegaConf.select(root, key, throw_on_missing=False)
                if isinstance(child, DictConfig) and id(child) not in visited:
                    visited.add(id(child))
                    below.append(child)
        level = below
