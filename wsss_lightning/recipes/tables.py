"""Reader of the tables in `conf/published/`, which say what a published run was made with.

`conf/published/<recipe>.yaml` describes one run. `conf/published/parts/` holds sections that
several runs share, such as the segmentation network; a recipe names them in `extends`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from wsss_lightning.choices import conf_folder
from wsss_lightning.errors import InputError, did_you_mean

NOT_PUBLISHED: Final = "not published"
"""Official value of a setting that neither the paper nor its code states."""

_HEAD: Final = frozenset(
    {"title", "experiment", "overrides", "paper", "note", "scores", "hardware"}
)
_SHARED: Final = frozenset({"extends", "repositories", "settings", "facts"})
# "IRN step/train_irn.py:34-36, 40", "PSA issue #8", "SEAM README"
_IN_CODE: Final = re.compile(r"issue #\d+|README(\.md)?|[\w./-]+:\d+(-\d+)?(, \d+(-\d+)?)*")
_OTHER_SOURCES: Final = ("paper", "slides")
_TEST: Final = re.compile(r"tests/[\w/]+\.py::test_\w+")


@dataclass(frozen=True)
class Repository:
    """Official code at the commit whose lines the table cites."""

    url: str
    commit: str


@dataclass(frozen=True)
class Score:
    """A published figure.

    Args:
        key: of `results.json`.
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
    """What the published run was made on.

    Args:
        gpus: number and kind.
        gpu_hours: of the whole run; None: not published.
        source: where that was published.
    """

    gpus: str
    gpu_hours: float | None
    source: str


@dataclass(frozen=True)
class Setting:
    """A configuration key, its value in the published run, and ours where that differs on purpose.

    Args:
        key: dotted; a group of keys such as `fit.method.jitter` where the value is a mapping.
        official: value of the published run, or `NOT_PUBLISHED`.
        source: repository, file and lines, or section of the paper.
        deliberate: whether our value differs on purpose.
        ours: our value; the official one unless `deliberate`.
        reason: why ours differs.
        effect: of the difference on the result, measured or published.
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
    """A property of the published run that is code here rather than a key.

    Args:
        fact: what it is about.
        official: how the published run did it.
        source: as of `Setting`.
        test: our test that verifies it, `tests/...::name`; empty where ours differs.
        ours: how we do it where that differs on purpose; empty: the same.
        reason, effect: as of `Setting`.
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
        name: of the file, of the recipe group and of the experiment.
        title: one line.
        experiment: that reproduces it.
        overrides: further command-line arguments that belong to it.
        paper: authors, venue and year.
        note: what a reader should know besides; may be empty.
        repositories: official code by the short name that sources use.
        scores: published figures.
        hardware: None where nothing is published.
        settings: in the order of the file, shared parts first.
        facts: likewise.
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
        """Settings and facts in which ours differs on purpose."""
        settings = [setting for setting in self.settings if setting.deliberate]
        return (*settings, *(fact for fact in self.facts if fact.ours))


def published_folder() -> Path:
    """Folder of the tables."""
    return conf_folder() / "published"


def recipe_names(folder: Path | None = None) -> list[str]:
    """Names of all recipes that have a table.

    Args:
        folder: of the tables; None: those of this package.
    """
    return sorted(path.stem for path in (folder or published_folder()).glob("*.yaml"))


def read_recipe(name: str, folder: Path | None = None) -> Recipe:
    """The table of a recipe, validated.

    Args:
        name: of its file, without suffix.
        folder: of the tables; None: those of this package.

    Raises:
        InputError: there is no such table, or a row is incomplete or contradicts itself; the
            message names file and row.
    """
    folder = folder or published_folder()
    known = recipe_names(folder)
    if name not in known:
        raise InputError(
            f"recipe {name} has no table of published settings; {did_you_mean(name, known)}"
        )
    path = folder / f"{name}.yaml"
    content = _load(path)
    _expect_keys(content, path.name, _HEAD - {"note", "overrides"}, _HEAD | _SHARED)
    section = _section(path, content, folder, ())
    where = path.name
    return Recipe(
        name=name,
        title=_text(content, "title", where),
        experiment=_text(content, "experiment", where),
        overrides=tuple(map(str, _rows(content, "overrides", where, str))),
        paper=_text(content, "paper", where),
        note=str(content.get("note", "")).strip(),
        repositories=section.repositories,
        scores=tuple(
            _score(row, f"{where}, scores[{i}]", section.repositories)
            for i, row in enumerate(_rows(content, "scores", where, dict))
        ),
        hardware=_hardware(content["hardware"], where, section.repositories),
        settings=tuple(section.settings.values()),
        facts=tuple(section.facts.values()),
    )


@dataclass
class _Section:
    """Rows of a file and of the parts that it extends."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    facts: dict[str, Fact] = field(default_factory=dict)


def _section(
    path: Path, content: Mapping[str, Any], folder: Path, above: tuple[str, ...]
) -> _Section:
    where = str(path.relative_to(folder))
    if where in above:
        raise InputError(f"{where} extends itself ({' > '.join([*above, where])}); remove one.")
    section = _Section()
    for part in _rows(content, "extends", where, str):
        part_path = folder / f"{part}.yaml"
        if not part_path.is_file():
            parts = [str(p.relative_to(folder).with_suffix("")) for p in folder.glob("*/*.yaml")]
            raise InputError(
                f"{where}, extends: there is no {part}.yaml; {did_you_mean(part, parts)}"
            )
        part_content = _load(part_path)
        _expect_keys(part_content, str(part_path.relative_to(folder)), frozenset(), _SHARED)
        shared = _section(part_path, part_content, folder, (*above, where))
        _merge(section.repositories, shared.repositories, where, "repository", same=True)
        _merge(section.settings, shared.settings, where, "key", same=False)
        _merge(section.facts, shared.facts, where, "fact", same=False)
    own = _repositories(content.get("repositories", {}), where)
    _merge(section.repositories, own, where, "repository", same=True)
    settings: dict[str, Setting] = {}
    for row in _rows(content, "settings", where, dict):
        setting = _setting(row, where, section.repositories)
        _add(settings, setting.key, setting, where)
    facts: dict[str, Fact] = {}
    for row in _rows(content, "facts", where, dict):
        fact = _fact(row, where, section.repositories)
        _add(facts, fact.fact, fact, where)
    # a row of the file itself replaces that of a part
    section.settings |= settings
    section.facts |= facts
    _expect_disjoint(section.settings, where)
    return section


def _load(path: Path) -> dict[str, Any]:
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path.name} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path.name} is no mapping of keys; write `key: value` lines.")
    return {str(key): value for key, value in content.items()}


def _expect_keys(
    row: Mapping[Any, Any], where: str, needed: Iterable[str], allowed: Iterable[str]
) -> None:
    allowed = sorted(allowed)
    for key in row:
        if key not in allowed:
            raise InputError(f"{where}: unknown key {key}; {did_you_mean(str(key), allowed)}")
    missing = sorted(set(needed) - set(row))
    if missing:
        raise InputError(f"{where}: {', '.join(missing)} is missing; add it.")


Kind = TypeVar("Kind")


def _rows(content: Mapping[str, Any], key: str, where: str, kind: type[Kind]) -> list[Kind]:
    rows = content.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, kind) for row in rows):
        raise InputError(f"{where}, {key}: a list of {kind.__name__} is expected, not {rows!r:.60}")
    return rows


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {key} is {value!r}, but a text is expected.")
    return value.strip()


def _number(row: Mapping[str, Any], key: str, where: str) -> float:
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{where}: {key} is {value!r}, but a number is expected.")
    return float(value)


def _repositories(found: Any, where: str) -> dict[str, Repository]:
    if not isinstance(found, dict):
        raise InputError(f"{where}, repositories: a mapping of short names is expected.")
    made = {}
    for name, row in found.items():
        place = f"{where}, repositories.{name}"
        if not isinstance(row, dict):
            raise InputError(f"{place}: `url` and `commit` are expected, not {row!r}.")
        _expect_keys(row, place, ("url", "commit"), ("url", "commit"))
        commit = _text(row, "commit", place)
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise InputError(
                f"{place}: commit is {commit}, but 40 hexadecimal digits are expected."
            )
        made[str(name)] = Repository(_text(row, "url", place), commit)
    return made


def _score(row: Mapping[str, Any], where: str, repositories: Mapping[str, Repository]) -> Score:
    keys = ("key", "published", "tolerance", "source")
    _expect_keys(row, where, keys, keys)
    published, tolerance = (_number(row, key, where) for key in ("published", "tolerance"))
    if not 0 <= published <= 100 or tolerance <= 0:
        raise InputError(
            f"{where}: published is {published} and tolerance is {tolerance}; give percent in "
            "[0, 100], and a tolerance above 0."
        )
    key = _text(row, "key", where)
    return Score(key, published, tolerance, _source(row, where, repositories))


def _hardware(row: Any, where: str, repositories: Mapping[str, Repository]) -> Hardware | None:
    if row is None:
        return None
    place, keys = f"{where}, hardware", ("gpus", "gpu_hours", "source")
    if not isinstance(row, dict):
        raise InputError(f"{place}: {', '.join(keys)} or null are expected, not {row!r}.")
    _expect_keys(row, place, keys, keys)
    hours = None if row["gpu_hours"] is None else _number(row, "gpu_hours", place)
    return Hardware(_text(row, "gpus", place), hours, _source(row, place, repositories))


def _setting(row: Mapping[str, Any], where: str, repositories: Mapping[str, Repository]) -> Setting:
    key = _text(row, "key", f"{where}, settings")
    place = f"{where}, {key}"
    _expect_keys(
        row,
        place,
        ("official", "source"),
        ("key", "official", "source", "ours", "reason", "effect"),
    )
    official, deliberate = row["official"], "ours" in row
    if official == NOT_PUBLISHED and not deliberate:
        raise InputError(f"{place}: official is {NOT_PUBLISHED!r}; add ours, reason and effect.")
    if deliberate and row["ours"] == official:
        raise InputError(f"{place}: ours equals official ({official!r}); leave ours out.")
    reason, effect = _explanation(row, place, deliberate)
    return Setting(
        key=key,
        official=official,
        source=_source(row, place, repositories),
        deliberate=deliberate,
        ours=row.get("ours", official),
        reason=reason,
        effect=effect,
    )


def _fact(row: Mapping[str, Any], where: str, repositories: Mapping[str, Repository]) -> Fact:
    fact = _text(row, "fact", f"{where}, facts")
    place = f"{where}, {fact!r}"
    allowed = ("fact", "official", "source", "test", "ours", "reason", "effect")
    _expect_keys(row, place, ("official", "source"), allowed)
    if ("test" in row) == ("ours" in row):
        raise InputError(
            f"{place}: give either test, which verifies that ours is the same, or ours with reason "
            "and effect."
        )
    reason, effect = _explanation(row, place, "ours" in row)
    test = _text(row, "test", place) if "test" in row else ""
    if test and not _TEST.fullmatch(test):
        raise InputError(f"{place}: test is {test}, but tests/<path>.py::test_<name> is expected.")
    official = _text(row, "official", place)
    ours = _text(row, "ours", place) if "ours" in row else ""
    if ours == official:
        raise InputError(f"{place}: ours equals official; give the test that verifies it instead.")
    return Fact(fact, official, _source(row, place, repositories), test, ours, reason, effect)


def _explanation(row: Mapping[str, Any], place: str, deliberate: bool) -> tuple[str, str]:
    """Reason and effect, which a deliberate difference has and nothing else."""
    if deliberate:
        for key in ("reason", "effect"):
            if key not in row:
                raise InputError(f"{place}: ours differs from official, but {key} is missing.")
        return _text(row, "reason", place), _text(row, "effect", place)
    for key in ("reason", "effect"):
        if key in row:
            raise InputError(f"{place}: {key} is given without ours; remove it, or add ours.")
    return "", ""


def _source(row: Mapping[str, Any], where: str, repositories: Mapping[str, Repository]) -> str:
    """The source of a row, every place of which names a repository, the paper or the slides."""
    source = _text(row, "source", where)
    for place in source.split("; "):
        name, _, rest = place.partition(" ")
        if name.rstrip(",") in _OTHER_SOURCES:
            continue
        if name not in repositories:
            known = [*repositories, *_OTHER_SOURCES]
            raise InputError(
                f"{where}: source {place!r} begins with none of {', '.join(known)}; name a "
                "repository of the table."
            )
        if not _IN_CODE.match(rest):
            raise InputError(
                f"{where}: source {place!r} has no file and line; write {name} path/file.py:LINE, "
                f"{name} issue #NUMBER or {name} README."
            )
    return source


def _add(rows: dict[str, Any], key: str, row: Any, where: str) -> None:
    if key in rows:
        raise InputError(f"{where}, {key}: there are two rows of this name; remove one.")
    rows[key] = row


def _merge(
    rows: dict[str, Any], more: Mapping[str, Any], where: str, kind: str, same: bool
) -> None:
    """Add rows of a part; `same`: one that is there already must be equal."""
    for key, row in more.items():
        if key in rows and not (same and rows[key] == row):
            raise InputError(f"{where}, extends: two parts define {kind} {key}; remove one.")
        rows[key] = row


def _expect_disjoint(keys: Iterable[str], where: str) -> None:
    """No row lies inside the node of another."""
    known = set(keys)
    for key in sorted(known):
        parts = key.split(".")
        for n in range(1, len(parts)):
            parent = ".".join(parts[:n])
            if parent in known:
                raise InputError(f"{where}: rows {parent} and {key} state one key twice.")
