"""A composed configuration compared with the table of its recipe."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from wsss_lightning.recipes.schema import Recipe

MOST_LINES: Final = 6  # of a summary
ABSENT: Final = "absent"


@dataclass(frozen=True)
class Difference:
    """A key whose value is not that of the table.

    Args:
        key: dotted.
        value: of the configuration; `ABSENT` where it has no such key.
        published: of the table: the official value, or ours where we differ on purpose.
    """

    key: str
    value: Any
    published: Any

    def __str__(self) -> str:
        if self.value == ABSENT:
            return f"{self.key}: {ABSENT}"
        return f"{self.key}: {shown(self.value)} (published {shown(self.published)})"


def differences(recipe: Recipe, configuration: Mapping[str, Any]) -> list[Difference]:
    """Keys of the table that a configuration does not hold, or holds with another value.

    Args:
        recipe: the table.
        configuration: plain mappings and lists, all references resolved.

    Returns:
        In the order of the table, keys that are absent last. A node that is absent counts once.
    """
    found: dict[str, Difference] = {}
    for setting in recipe.settings:
        for key, expected in _leaves(setting.key, setting.ours):
            present, value = _select(configuration, key)
            if value is ABSENT:
                found[present] = Difference(present, ABSENT, None)
            elif not equal(value, expected):
                found[key] = Difference(key, value, expected)
    return sorted(found.values(), key=lambda difference: difference.value == ABSENT)


def summary(recipe: Recipe, found: Sequence[Difference]) -> str:
    """What a run prints about its recipe, a few lines."""
    if not found:
        deliberate = len(recipe.deliberate)
        known = f", but for {deliberate} documented differences" if deliberate else ""
        details = f" (python -m wsss_lightning.recipes {recipe.name})" if deliberate else ""
        return f"Settings equal the published run (recipe {recipe.name}){known}{details}"
    lines = [f"  {difference}" for difference in found[:MOST_LINES]]
    if len(found) > MOST_LINES:
        lines.append(f"  and {len(found) - MOST_LINES} more")
    count = f"{len(found)} setting{'s' if len(found) > 1 else ''}"
    return "\n".join(
        [f"{count} not of the published run (recipe {recipe.name}); scores do not compare:", *lines]
    )


def record(recipe: Recipe, found: Sequence[Difference]) -> dict[str, Any]:
    """What `results.json` says about the recipe of a run."""
    return {"name": recipe.name, "differences": [asdict(difference) for difference in found]}


def equal(value: Any, expected: Any) -> bool:
    """Whether two values of the configuration are the same; numbers but for rounding."""
    if isinstance(value, bool) or isinstance(expected, bool):
        return value is expected
    if isinstance(value, (int, float)) and isinstance(expected, (int, float)):
        return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(value, list) and isinstance(expected, list):
        return len(value) == len(expected) and all(map(equal, value, expected))
    if isinstance(value, dict) and isinstance(expected, dict):
        return value.keys() == expected.keys() and all(
            equal(value[key], expected[key]) for key in value
        )
    return bool(value == expected)


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Keys below a row whose value is a mapping; else the row itself."""
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _leaves(f"{key}.{name}", below)
    else:
        yield key, value


def _select(configuration: Mapping[str, Any], key: str) -> tuple[str, Any]:
    """The value of a dotted key, or `ABSENT` and the first node on the way that is not there."""
    node: Any = configuration
    parts = key.split(".")
    for n, name in enumerate(parts, start=1):
        if not isinstance(node, Mapping) or name not in node:
            return ".".join(parts[:n]), ABSENT
        node = node[name]
    return key, node


def shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {shown(below)}' for key, below in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) else str(value)
