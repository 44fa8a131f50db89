"""Reads the tables of published runs in `conf/published/`.

`conf/published/<recipe>.yaml` describes one run. `conf/published/parts/` holds sections that
several runs share, such as the segmentation network; a recipe lists them in `extends`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from wsss_lightning.config.folder import conf_folder
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.recipes.rows import (
    expect_keys,
    list_of,
    read_fact,
    read_hardware,
    read_repositories,
    read_score,
    read_setting,
    text,
)
from wsss_lightning.recipes.schema import Fact, Recipe, Repository, Setting

_HEAD: Final = frozenset(
    {"title", "experiment", "overrides", "paper", "note", "scores", "hardware"}
)
_SHARED: Final = frozenset({"extends", "repositories", "settings", "facts"})


def published_folder() -> Path:
    """Folder of the tables in this package."""
    return conf_folder() / "published"


def recipe_names(folder: Path | None = None) -> list[str]:
    """Names of all recipes.

    Args:
        folder: folder of the tables; None: that of this package.
    """
    return sorted(path.stem for path in (folder or published_folder()).glob("*.yaml"))


def read_recipe(name: str, folder: Path | None = None) -> Recipe:
    """Read and validate the table of a recipe.

    Args:
        name: name of the file, without suffix.
        folder: folder of the tables; None: that of this package.

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
    expect_keys(content, path.name, _HEAD - {"note", "overrides"}, _HEAD | _SHARED)
    section = _section(path, content, folder, ())
    where = path.name
    return Recipe(
        name=name,
        title=text(content, "title", where),
        experiment=text(content, "experiment", where),
        overrides=tuple(map(str, list_of(content, "overrides", where, str))),
        paper=text(content, "paper", where),
        note=str(content.get("note", "")).strip(),
        repositories=section.repositories,
        scores=tuple(
            read_score(row, f"{where}, scores[{i}]", section.repositories)
            for i, row in enumerate(list_of(content, "scores", where, dict))
        ),
        hardware=read_hardware(content["hardware"], where, section.repositories),
        settings=tuple(section.settings.values()),
        facts=tuple(section.facts.values()),
    )


@dataclass
class _Section:
    """Rows of a file, including those of the parts that it extends."""

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
    for part in list_of(content, "extends", where, str):
        part_path = folder / f"{part}.yaml"
        if not part_path.is_file():
            parts = [str(p.relative_to(folder).with_suffix("")) for p in folder.glob("*/*.yaml")]
            raise InputError(
                f"{where}, extends: there is no {part}.yaml; {did_you_mean(part, parts)}"
            )
        part_content = _load(part_path)
        expect_keys(part_content, str(part_path.relative_to(folder)), frozenset(), _SHARED)
        shared = _section(part_path, part_content, folder, (*above, where))
        _merge(section.repositories, shared.repositories, where, "repository", same=True)
        _merge(section.settings, shared.settings, where, "key", same=False)
        _merge(section.facts, shared.facts, where, "fact", same=False)
    own = read_repositories(content.get("repositories", {}), where)
    _merge(section.repositories, own, where, "repository", same=True)
    settings: dict[str, Setting] = {}
    for row in list_of(content, "settings", where, dict):
        setting = read_setting(row, where, section.repositories)
        _add(settings, setting.key, setting, where)
    facts: dict[str, Fact] = {}
    for row in list_of(content, "facts", where, dict):
        fact = read_fact(row, where, section.repositories)
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
        raise InputError(f"{path.name} must be a mapping; write `key: value` lines.")
    return {str(key): value for key, value in content.items()}


def _add(rows: dict[str, Any], key: str, row: Any, where: str) -> None:
    if key in rows:
        raise InputError(f"{where}, {key}: two rows have this name; remove one.")
    rows[key] = row


def _merge(
    rows: dict[str, Any], more: Mapping[str, Any], where: str, kind: str, same: bool
) -> None:
    """Add the rows of a part; `same` allows a row that exists already with equal content."""
    for key, row in more.items():
        if key in rows and not (same and rows[key] == row):
            raise InputError(f"{where}, extends: two parts define {kind} {key}; remove one.")
        rows[key] = row


def _expect_disjoint(keys: Iterable[str], where: str) -> None:
    """Check that no row is inside the node of another row."""
    known = set(keys)
    for key in sorted(known):
        parts = key.split(".")
        for n in range(1, len(parts)):
            parent = ".".join(parts[:n])
            if parent in known:
                raise InputError(
                    f"{where}: rows {parent} and {key} give one key twice; remove one."
                )
