"""Content of the table of a published run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

NOT_PUBLISHED: Final = "not published"
"""Official value of a setting that neither the paper nor its code states."""


@dataclass(frozen=True)
class Repository:
    """Official code, at the commit whose lines the table cites."""

    url: str
    commit: str


@dataclass(frozen=True)
class Score:
    """A published score.

    Args:
        key: key in `results.json`.
        published: percent.
        tolerance: percentage points within which a run counts as a reproduction.
        source: where it was published.
    """

    key: str
    published: float
    tolerance: float
    source: str


@dataclass(frozen=True)
class Hardware:
    """Hardware of the published run.

    Args:
        gpus: number and kind.
        gpu_hours: GPU hours of the whole run; None: not published.
        source: where that was published.
    """

    gpus: str
    gpu_hours: float | None
    source: str


@dataclass(frozen=True)
class Setting:
    """A configuration key with its value in the published run, and our deliberate difference.

    Args:
        key: dotted; a group of keys such as `fit.method.jitter` if the value is a mapping.
        official: value of the published run, or `NOT_PUBLISHED`.
        source: repository, file and lines, or section of the paper.
        deliberate: whether our value differs on purpose.
        ours: our value; the official one unless `deliberate`.
        reason: why ours differs.
        effect: effect of the difference on the result, measured or published.
    """

    key: str
    official: Any
    source: str
    deliberate: bool
    ours: Any
    reason: str
    effect: str


@dataclass(frozen=True)
class Fact:
    """A property of the published run that is fixed in our code instead of a key.

    Args:
        fact: name of the property.
        official: behaviour of the published run.
        source: as in `Setting`.
        test: our test that verifies it, `tests/...::name`; empty if ours differs.
        ours: our deliberate difference; empty: the same as official.
        reason, effect: as in `Setting`.
    """

    fact: str
    official: str
    source: str
    test: str
    ours: str
    reason: str
    effect: str


@dataclass(frozen=True)
class Recipe:
    """A published run.

    Args:
        name: name of the file, of the recipe group and of the experiment.
        title: one line.
        experiment: experiment that reproduces it.
        overrides: further command-line arguments that belong to it.
        paper: authors, venue and year.
        note: further remarks; may be empty.
        repositories: official code by the short name that sources use.
        scores: as published.
        hardware: None if it is not published.
        settings: in the order of the file, shared parts first.
        facts: in the same order.
    """

    name: str
    title: str
    experiment: str
    overrides: tuple[str, ...]
    paper: str
    note: str
    repositories: Mapping[str, Repository]
    scores: tuple[Score, ...]
    hardware: Hardware | None
    settings: tuple[Setting, ...]
    facts: tuple[Fact, ...]

    @property
    def deliberate(self) -> tuple[Setting | Fact, ...]:
        """Settings and facts with a deliberate difference."""
        settings = [setting for setting in self.settings if setting.deliberate]
        return (*settings, *(fact for fact in self.facts if fact.ours))
