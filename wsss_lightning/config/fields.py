"""Whether a value fits the type and the range that a field or a parameter declares.

Ranges are declared in annotations: `Annotated[float, Ge(0), Le(1), "0.2 is usual"]`. Bounds and
`Predicate` are those of `annotated_types`, a string is a hint that ends the message, and a `Rule`
is a predicate with its own description. The keys of `config.schema` declare their ranges like this,
and so may each parameter of a class or function that a `_target_` names.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt, MinLen, Predicate
from omegaconf import OmegaConf

from wsss_lightning.errors import InputError


@dataclass(frozen=True)
class Rule:
    """A condition on values other than null, beyond type and bounds.

    Args:
        holds: whether a value of the declared type meets it.
        words: what is expected, as in "two positive numbers".
    """

    holds: Callable[[Any], bool]
    words: str


def one_of(*values: Any) -> Rule:
    """One of a few values; for fields of OmegaConf's schema, which cannot be a `Literal`."""
    return Rule(lambda value: value in values, " or ".join(map(str, values)))


def check_field(key: str, value: Any, kind: Any, of: str = "") -> None:
    """Check a value against the annotation of its key.

    Args:
        key: name of the value in messages.
        value: plain, or a node of OmegaConf.
        kind: annotation.
        of: name of what declares the annotation; empty for the schema.

    Raises:
        InputError: the value does not fit; the message names key, value and expectation.
    """
    expected = misfit(value, kind)
    if expected is not None:
        source = f"{of} takes" if of else "must be"
        raise InputError(f"{key} is {shown(value)}, but {source} {expected}{_hint(kind)}.")


def misfit(value: Any, kind: Any) -> str | None:
    """What an annotation expects, if a value does not fit it; None if the value fits.

    A mapping with a `_target_` may build anything, so it fits wherever a node is possible.
    """
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    if isinstance(plain, Mapping) and "_target_" in plain:
        return None
    from pydantic import TypeAdapter, ValidationError  # slow import, delayed

    try:
        # strict JSON: neither true nor "3" is a number, but a list may become any sequence
        TypeAdapter(_as_json(kind)).validate_json(json.dumps(plain, default=str), strict=True)
    except ValidationError:
        return describe(kind)
    if plain is None:
        return None
    for rule in _metadata(kind, Rule):
        if not rule.holds(plain):
            return rule.words
    fits = all(predicate.func(plain) for predicate in _metadata(kind, Predicate))
    return None if fits else describe(kind)


_PLAIN: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    NoneType: "null",
}


def _as_json(kind: Any) -> Any:
    """Convert an annotation to a JSON type: any class that JSON lacks becomes a mapping."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = [m for m in inner[1:] if isinstance(m, (Ge, Gt, Le, Lt, Len, MinLen))]
        plain = _as_json(inner[0])
        return Annotated[(plain, *bounds)] if bounds else plain
    if origin in (Union, UnionType):
        return Union[tuple(map(_as_json, inner))]  # noqa: UP007
    if kind is Any or kind is object or origin is Literal or kind in _PLAIN:
        return kind
    cls = origin or kind
    if not isinstance(cls, type):  # a type variable
        return Any
    if _is_list(cls):
        return list[_as_json(inner[0])] if inner else list[Any]  # type: ignore[misc]
    return dict[Any, Any]


def _is_list(cls: type) -> bool:
    return issubclass(cls, Iterable) and not issubclass(cls, (str, Mapping))


def describe(kind: Any) -> str:
    """An annotation in words, such as "a number in [0, 1] or null"."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        rules = _metadata(kind, Rule)
        if rules:
            return rules[0].words
        return describe(inner[0]) + _bounds(inner[1:])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(describe, inner)))
    if origin is Literal:
        return " or ".join(map(str, inner))
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(origin or kind, type) and _is_list(origin or kind):
        return f"a list, each entry {describe(inner[0])}" if inner else "a list"
    return "a mapping"


def _bounds(metadata: Iterable[Any]) -> str:
    low: Any = None
    high: Any = None
    opening, closing = "(", ")"
    for bound in metadata:
        if isinstance(bound, MinLen):
            count = "one entry" if bound.min_length == 1 else f"{bound.min_length} entries"
            return f", with at least {count}"
        if isinstance(bound, Len):
            return f", with exactly {bound.min_length} entries"
        if isinstance(bound, (Ge, Gt)):
            low, opening = (bound.ge, "[") if isinstance(bound, Ge) else (bound.gt, "(")
        elif isinstance(bound, (Le, Lt)):
            high, closing = (bound.le, "]") if isinstance(bound, Le) else (bound.lt, ")")
    if low is not None and high is not None:
        return f" in {opening}{low}, {high}{closing}"
    if low is not None:
        return f" of {low} or more" if opening == "[" else f" above {low}"
    if high is not None:
        return f" of {high} or less" if closing == "]" else f" below {high}"
    return ""


def _metadata(kind: Any, metadata_type: type) -> list[Any]:
    """Metadata of one type, in an annotation and in the members of a union."""
    if get_origin(kind) is Annotated:
        metadata = [m for m in get_args(kind)[1:] if isinstance(m, metadata_type)]
        return metadata + _metadata(get_args(kind)[0], metadata_type)
    if get_origin(kind) in (Union, UnionType):
        return [m for member in get_args(kind) for m in _metadata(member, metadata_type)]
    return []


def _hint(kind: Any) -> str:
    hints = _metadata(kind, str)
    return f" ({hints[0]})" if hints else ""


def shown(value: Any) -> str:
    """Format a value as on the command line, cut at 80 characters."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)[:80]
