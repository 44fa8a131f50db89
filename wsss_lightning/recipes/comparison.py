"""Compares a composed configuration with the table of its recipe."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from wsss_lightning.recipes.schema import Recipe

MAX_LINES: Final = 6  # differences in a summary
ABSENT: Final = "absent"


@dataclass(frozen=True)
class Difference:
    """A key whose value differs from the table.

    Args:
        key: dotted.
        value: value in the configuration; `ABSENT` if it has no such key.
        published: value in the table: the official one, or ours if we differ deliberately.
    """

    key: str
    value: Any
    published: Any

    def __str__(self) -> str:
        if self.value == ABSENT:
            return f"{self.key}: {ABSENT}"
        return f"{self.key}: {format_value(self.value)} (published {format_value(self.published)})"


def differences(recipe: Recipe, configuration: Mapping[str, Any]) -> list[Difference]:
    """Keys of the table that a configuration lacks or sets to another value.

    Args:
        recipe: the table.
        configuration: plain mappings and lists, with all references resolved.

    Returns:
        Differences in the order of the table, absent keys last. An absent node counts once.
    """
    by_key: dict[str, Difference] = {}
    for setting in recipe.settings:
        for key, expected in _leaves(setting.key, setting.ours):
            present, value = _select(configuration, key)
            if value is ABSENT:
                by_key[present] = Difference(present, ABSENT, None)
            elif not equal(value, expected):
                by_key[key] = Difference(key, value, expected)
    return sorted(by_key.values(), key=lambda difference: difference.value == ABSENT)


def summary(recipe: Recipe, differing: Sequence[Difference]) -> str:
    """Text that a run prints about its recipe.

    Args:
        recipe: the table.
        differing: differences of the configuration from it.
    """
    if not differing:
        deliberate = len(recipe.deliberate)
        known = f", except {deliberate} documented differences" if deliberate else ""
        details = f" (python -m wsss_lightning recipes {recipe.name})" if deliberate else ""
        return f"All settings are those of the published run (recipe {recipe.name}){known}{details}"
    lines = [f"  {difference}" for difference in differing[:MAX_LINES]]
    if len(differing) > MAX_LINES:
        lines.append(f"  and {len(differing) - MAX_LINES} more")
    count = f"{len(differing)} setting{'s' if len(differing) > 1 else ''}"
    return "\n".join(
        [
            f"{count} {'differ' if len(differing) > 1 else 'differs'} from the published run "
            f"(recipe {recipe.name}), so the scores cannot be compared:",
            *lines,
        ]
    )


def record(recipe: Recipe, differing: Sequence[Difference]) -> dict[str, Any]:
    """The entry of `results.json` about the recipe of a run."""
    return {"name": recipe.name, "differences": [asdict(difference) for difference in differing]}


def equal(value: Any, expected: Any) -> bool:
    """Whether two values of the configuration are equal; numbers up to rounding."""
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
    """Keys and values below a row whose value is a mapping; otherwise the row itself."""
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _leaves(f"{key}.{name}", below)
    else:
        yield key, value


def _select(configuration: Mapping[str, Any], key: str) -> tuple[str, Any]:
    """A dotted key and its value, or the first node of it that is absent and `ABSENT`."""
    node: Any = configuration
    parts = key.split(".")
    for n, name in enumerate(parts, start=1):
        if not isinstance(node, Mapping) or name not in node:
            return ".".join(parts[:n]), ABSENT
        node = node[name]
    return key, node


def format_value(value: Any) -> str:
    """A value as typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {format_value(below)}' for key, below in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) else str(value)
