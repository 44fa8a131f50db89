"""Digest of the code that a step uses, so that only edits of that code repeat the step.

A step uses its own function and, transitively, every definition (function, class, constant) that is
named there, in all modules of the followed packages. Syntax trees are compared: comments,
docstrings and layout do not count.

Where static analysis cannot decide, more code counts:

- A class counts as a whole, with its bases.
- Statements that may act on import (calls, registrations, `if`, `try`) count for everyone who uses
  something of their module, or imports it without any use of its name; those of an `__init__.py`,
  for everyone who uses its package.
- A module counts as a whole if it is used as a value (`getattr(module, name)`) or star-imported,
  or if its used code reads `globals()`.
- A string that names a module or a definition counts as its use (`python -m`, `import_module`).
- Code that uses `__file__` also uses the files beside its module, such as a C++ source.

What the configuration chooses must come as a `_target_` in the step's inputs.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import MappingProxyType, MethodType
from typing import Any, NamedTuple, final

from omegaconf import OmegaConf

from wsss_lightning.cache.source_module import FILE, ON_IMPORT, SourceModule, load_module
from wsss_lightning.utils.syntax import DOTTED, Target

PACKAGE = __name__.partition(".")[0]

# code that cannot change a result, and what it does
UNHASHED: dict[str, str] = {
    "wsss_lightning.cache.step": "names configuration keys for error texts",
    "wsss_lightning.errors": "error texts",
    "wsss_lightning.training.callbacks.finish_loggers": "closes loggers",
    "wsss_lightning.training.callbacks.non_finite_loss_guard": "stops at an error",
    "wsss_lightning.training.callbacks.progress": "progress bars",
    "wsss_lightning.training.callbacks.pseudo_mask_alarms": "warns of unlikely masks",
    "wsss_lightning.training.callbacks.shared_step_axis": "sets the x axis of logged curves",
    "wsss_lightning.training.distributed.block_sigchld_during_fork": "avoids a deadlock",
    "wsss_lightning.training.distributed.exit_with_parent": "ends the workers of a killed run",
    "wsss_lightning.training.distributed.silence_lightning": "hides warnings",
    "wsss_lightning.training.distributed.translate_worker_errors": "error texts",
    "wsss_lightning.training.loggers": "writes logs",
    "wsss_lightning.utils.console": "prints, and shows progress bars",
    "wsss_lightning.utils.text": "text for messages",
}


class Part(NamedTuple):
    """A definition of a module, such as `Backbone`, or another part that `SourceModule` names."""

    module: str
    name: str


@final
class CodeGraph:
    """Which definitions use which, in all modules of some packages.

    Files are read when first needed. An imported module counts as it was when imported, until it is
    reloaded.

    Args:
        packages: to follow besides this one. Code of any other package (torch, ...) does not count.
        folders: folders of packages that Python does not find by itself.
    """

    def __init__(
        self, packages: Iterable[str] = (), folders: Mapping[str, Path] = MappingProxyType({})
    ) -> None:
        self.packages = {PACKAGE, *packages}
        self.folders = dict(folders)
        self._modules: dict[str, SourceModule | None] = {}
        self._used_by: dict[Part, frozenset[Part]] = {}

    def digest(self, work: Callable[..., Any] | None = None, targets: Iterable[str] = ()) -> str:
        """Digest of all code that a step's function and `_target_`s use.

        Raises:
            ValueError: `work` is not defined in a file.
        """
        digest = hashlib.sha256()
        for part in sorted(self.used(work, targets)):
            content = self._existing(part.module).digest(part.name)
            digest.update(f"{part.module}:{part.name}={content}\n".encode())
        return digest.hexdigest()[:12]

    def used(
        self, work: Callable[..., Any] | None = None, targets: Iterable[str] = ()
    ) -> frozenset[Part]:
        """All parts that a step's function and `_target_`s use, directly or indirectly.

        Raises:
            ValueError: `work` is not defined in a file.
        """
        pending = [] if work is None else list(self._parts_of(work))
        for target in targets:
            pending += filter(_is_hashed, self._named(target))
        parts: set[Part] = set()
        while pending:
            part = pending.pop()
            if part not in parts:
                parts.add(part)
                pending += self._uses(part)
        return frozenset(parts)

    def lines(self, part: Part) -> Iterator[tuple[Path, int, int]]:
        """File, first and last line of a part."""
        module = self._existing(part.module)
        for node in module.code(part.name):
            decorators = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
            yield module.path, first, node.end_lineno or first

    def _parts_of(self, work: Callable[..., Any]) -> Iterator[Part]:
        """The definition of a step; for a method or another object, its class."""
        while isinstance(work, partial):
            work = work.func
        definition: Any = work
        if isinstance(work, MethodType):
            definition = work.__self__
        if not hasattr(definition, "__qualname__"):
            definition = type(definition)
        self._follow(definition)
        yield from self._defined(definition)

    def _follow(self, definition: Any) -> None:
        """Follow the package in which a step is defined, whether or not it was listed."""
        top = definition.__module__.partition(".")[0]
        if top not in self.packages:
            self.packages.add(top)
            self._modules.clear()
            self._used_by.clear()
        if self._module(definition.__module__) is None:
            raise ValueError(
                f"{definition.__qualname__} is not defined in a file, so changes of its code could "
                "not be noticed; move it to a module."
            )

    def _defined(self, definition: Any) -> Iterator[Part]:
        """A definition, or the one that encloses it; for a lambda in a module, the whole module."""
        name = definition.__qualname__.partition(".")[0]
        module = self._existing(definition.__module__)
        if name in module.bindings:
            yield from self._attribute(module, (name,))
        else:
            yield from self._whole(module)

    def _uses(self, part: Part) -> frozenset[Part]:
        """Parts that a part uses directly."""
        if part not in self._used_by:
            module = self._existing(part.module)
            parts = set(self._on_import(part.module))
            if not part.name.startswith(FILE):
                references = module.references(part.name)
                for chain in references.chains:
                    parts.update(self._attribute(module, chain))
                for target in references.imports:
                    parts.update(self._imported(target, ()))
                for name in references.modules:
                    parts.update(self._on_import(name))
                for text in references.strings:
                    parts.update(self._named(text))
                if references.any_global():
                    parts.update(self._whole(module))
                if references.own_folder():
                    parts.update(Part(part.module, f"{FILE}{name}") for name in module.files)
            self._used_by[part] = frozenset(filter(_is_hashed, parts))
        return self._used_by[part]

    def _on_import(self, name: str) -> Iterator[Part]:
        """Code that runs when a module is imported, including that of its parent packages."""
        while name:
            if self._module(name) is not None:
                yield Part(name, ON_IMPORT)
            name = name.rpartition(".")[0]

    def _attribute(self, module: SourceModule, chain: tuple[str, ...]) -> Iterator[Part]:
        """Parts that `a.b.c` refers to in a module; none if `a` is built in."""
        bound = module.bindings.get(chain[0])
        if isinstance(bound, Target):
            yield Part(module.name, chain[0])
            yield from self._imported(bound, chain[1:])
        elif bound is not None:
            yield Part(module.name, bound)

    def _imported(self, target: Target, chain: tuple[str, ...]) -> Iterator[Part]:
        """Parts that attributes of an import refer to; none in packages that are not followed."""
        module = self._module(target.module)
        if module is None:
            return
        names = (target.name, *chain) if target.name else chain
        while names:
            if names[0] in module.bindings:
                yield from self._on_import(module.name)
                yield from self._attribute(module, names)
                return
            inner = self._module(f"{module.name}.{names[0]}")
            if inner is None:
                break
            module, names = inner, names[1:]
        yield from self._whole(module)

    def _named(self, text: str) -> Iterator[Part]:
        """Parts that a string such as `package.module.Class` names, if any."""
        names = text.split(".")
        if names[0] not in self.packages or not DOTTED.fullmatch(text):
            return
        for count in range(len(names), 0, -1):
            module = self._module(".".join(names[:count]))
            if module is not None:
                if count > 1 or names[1] in module.bindings or "__getattr__" in module.bindings:
                    yield from self._imported(Target(module.name, None), tuple(names[count:]))
                return

    def _whole(self, module: SourceModule) -> Iterator[Part]:
        for name in module.parts:
            yield from self._attribute(module, (name,))
            if name not in module.bindings:
                yield Part(module.name, name)

    def _existing(self, name: str) -> SourceModule:
        module = self._module(name)
        assert module is not None, name
        return module

    def _module(self, name: str) -> SourceModule | None:
        """A module of the followed packages; None for any other."""
        if name not in self._modules:
            path = self._find(name)
            self._modules[name] = None if path is None else load_module(name, path)
        return self._modules[name]

    def _find(self, name: str) -> Path | None:
        """The file of a module; the folder of a package without `__init__.py`."""
        top, *inner = name.split(".")
        if top not in self.packages:
            return None
        for place in [self.folders[top]] if top in self.folders else _places(top):
            if place.is_file():
                return None if inner else place
            path = place.joinpath(*inner)
            candidates = [path / "__init__.py"]
            if inner:
                candidates += [Path(f"{path}{end}") for end in (".py", *EXTENSION_SUFFIXES)]
            for candidate in candidates:
                if candidate.is_file():
                    return candidate
            if path.is_dir():
                return path
        return None


def targets_in(value: Any) -> Iterator[str]:
    """Each `_target_` in a configuration, at any depth."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "_target_" and isinstance(item, str):
                yield item
            yield from targets_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from targets_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for one in fields(value):
            yield from targets_in(getattr(value, one.name))


@cache
def package_digest() -> str:
    """Digest of all sources of this package: the version of the code; it is part of no key."""
    digest = hashlib.sha256()
    for place in _places(PACKAGE):
        for path in sorted([*place.rglob("*.py"), *place.rglob("*.cpp")]):
            digest.update(path.relative_to(place).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _is_hashed(part: Part) -> bool:
    names = f"{part.module}.{part.name}".split(".")
    return not any(".".join(names[:count]) in UNHASHED for count in range(1, len(names) + 1))


def _places(top: str) -> list[Path]:
    """Folders of a package, or the file of a module that is in none."""
    loaded = sys.modules.get(top)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        folders = getattr(loaded, "__path__", None)
        return [Path(folder) for folder in folders] if folders else [Path(file)] if file else []
    spec = importlib.util.find_spec(top)
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(folder) for folder in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.has_location and spec.origin else []
