"""Declarations of steps."""

from collections.abc import Callable
from typing import TypeVar

Step = TypeVar("Step", bound=Callable[..., None])


def step(memory_keys: tuple[str, ...]) -> Callable[[Step], Step]:
    """Declare the configuration keys that bound the memory of a step.

    They are named when a step runs out of memory.
    """

    def declare(function: Step) -> Step:
        function.memory_keys = memory_keys  # type: ignore[attr-defined]
        return function

    return declare


def memory_keys(function: Callable[..., object]) -> tuple[str, ...]:
    """Configuration keys that bound the memory of a step; `workers` where it declares none."""
    return getattr(function, "memory_keys", ("workers",))
