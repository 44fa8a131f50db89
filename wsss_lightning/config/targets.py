"""Checks of every `_target_`: what may be built, and whether its constructor takes the values.

A configuration file from elsewhere must not run code of its choice, so only listed packages can be
named. `WSSS_ALLOW=my_methods,other_package` adds packages of the user's own.
"""

import importlib
import inspect
import os
import re
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf

from wsss_lightning.config.fields import check_field
from wsss_lightning.config.renamed import new_target
from wsss_lightning.errors import InputError, did_you_mean

VARIABLE = "WSSS_ALLOW"
# packages that only read, write or start processes are left out
BUILT_IN = (
    "wsss_lightning.data.synthetic.generate.",
    "wsss_lightning.data.dataset.",
    "wsss_lightning.data.folder.read.",
    "wsss_lightning.methods.",
    "wsss_lightning.nets.",
    "wsss_lightning.ops.",
    "wsss_lightning.pipelines.",
    "wsss_lightning.refiners.",
    "wsss_lightning.training.callbacks.",
    "wsss_lightning.training.distributed.",
    "wsss_lightning.training.loggers.",
    "torch.optim.",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.trainer.trainer.Trainer",
    "pytorch_lightning.callbacks.",
    "pytorch_lightning.loggers.",
    "pytorch_lightning.plugins.",
    "pytorch_lightning.profilers.",
    "pytorch_lightning.strategies.",
)

PACKAGES = tuple(dict.fromkeys(prefix.partition(".")[0] for prefix in BUILT_IN))


def allowed_packages() -> tuple[str, ...]:
    """The user's own packages, from the environment variable WSSS_ALLOW.

    Raises:
        InputError: an entry is not the name of a top-level package.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    for name in filter(None, names):
        if not name.isidentifier():
            raise InputError(
                f"{VARIABLE} has the entry {name}, but entries are names of top-level packages, "
                f"separated by commas; set it as in {VARIABLE}=my_methods,other_package."
            )
    return tuple(filter(None, names))


def allowed_prefixes() -> tuple[str, ...]:
    """Prefixes of the names of all classes and functions that configuration may build.

    Raises:
        InputError: as in `allowed_packages`.
    """
    return (*BUILT_IN, *(f"{package}." for package in allowed_packages()))


def check_allowed(key: str, target: str) -> None:
    """Check that configuration may build a target.

    Args:
        key: key that holds the target, or file and key, for messages.
        target: dotted name.

    Raises:
        InputError: the target is not allowed, or was renamed.
    """
    new = new_target(target)
    if new is not None:
        raise InputError(f"{key} is {target}, which was renamed to {new}; write the new name.")
    if not target.startswith(allowed_prefixes()):
        package = target.partition(".")[0]
        if package.isidentifier() and package not in PACKAGES:
            packages = ",".join([*allowed_packages(), package])
            raise InputError(
                f"{key} is {target}, code outside {', '.join(PACKAGES)}. If you trust the package "
                f"{package}, allow it with the environment variable {VARIABLE}={packages}."
            )
        raise InputError(
            f"{key} is {target}, which is none of the classes and functions that configuration "
            f"may build: {', '.join(f'{prefix}*' for prefix in allowed_prefixes())}."
        )


def check_targets(cfg: DictConfig, without: Container[str] = ()) -> None:
    """Check every `_target_` node against the allow-list and its constructor's signature.

    Args:
        without: top-level keys whose nodes are left out.

    Raises:
        InputError: a target is not allowed or does not exist; a parameter is unknown, missing, or
            does not fit the annotation of the constructor.
    """
    parts = [str(name) for name in cfg if name not in without]
    for key, node in (pair for name in parts for pair in _targets(cfg[name], name)):
        target = str(node["_target_"])
        check_allowed(f"{key}._target_", target)
        _check_signature(key, node, target, _locate(target, key))


def _targets(node: Any, key: str) -> Iterator[tuple[str, DictConfig]]:
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield key, node
        for name in node:
            if not OmegaConf.is_missing(node, name):
                yield from _targets(node[name], f"{key}.{name}" if key else str(name))
    elif isinstance(node, ListConfig):
        for i, item in enumerate(node):
            yield from _targets(item, f"{key}[{i}]")


def _locate(target: str, key: str) -> Callable[..., Any]:
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{key}._target_ is {target}, but {error.name} cannot be imported; correct the name, "
            "or install the package."
        ) from error
    if not hasattr(module, name):
        raise InputError(
            f"{key}._target_ is {target}, but {module_name} has no {name}; "
            f"{did_you_mean(name, [n for n in vars(module) if not n.startswith('_')])}"
        )
    made = getattr(module, name)
    # what a module imports from elsewhere is not part of it
    home = f"{getattr(made, '__module__', '')}.{getattr(made, '__qualname__', '')}"
    if not callable(made) or not home.startswith(allowed_prefixes()):
        raise InputError(
            f"{key}._target_ is {target}, which is not one of {module_name}'s own classes or "
            "functions; name one of these."
        )
    return made


def _check_signature(key: str, node: DictConfig, target: str, made: Callable[..., Any]) -> None:
    parameters = inspect.signature(made).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = [str(name) for name in node if not str(name).startswith("_")]
    if "_args_" in node:
        raise InputError(f"{key}._args_ is set; give each parameter of {target} by its name.")
    kinds = _annotations(made)
    for name in given:
        if name not in parameters and not takes_any:
            raise InputError(
                f"{key}.{name} is set, but {target} has no such parameter; "
                f"{did_you_mean(name, parameters)}"
            )
        if OmegaConf.is_missing(node, name):
            raise InputError(f"{key}.{name} is not set; give it, as in {key}.{name}=VALUE.")
        if _admits_path(kinds.get(name, Any)) and str(node[name]).strip() == "":
            source = _reference(node, name) or f"{key}.{name}"
            raise InputError(f"{source} is empty, but it names a folder or file: {source}=PATH")
        check_field(f"{key}.{name}", node[name], kinds.get(name, Any), of=target)
    if node.get("_partial_", False):
        return
    needed = [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    for name in needed:
        if name not in given:
            raise InputError(f"{key}.{name} is not set, but {target} needs it; add it.")


def _admits_path(kind: Any) -> bool:
    return kind is Path or (
        get_origin(kind) in (Union, UnionType) and any(map(_admits_path, get_args(kind)))
    )


def _reference(node: DictConfig, name: str) -> str | None:
    """The key that a value is taken from, where it is a reference such as `${data.root}`."""
    value: Any = node._get_node(name)
    reference = re.fullmatch(r"\$\{([\w.]+)\}", str(value._value()))
    return reference[1] if reference else None


def _annotations(made: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a constructor's parameters; empty where they cannot be resolved."""
    constructor = made.__init__ if isinstance(made, type) else made  # type: ignore[misc]
    try:
        return get_type_hints(constructor, include_extras=True)
    except (NameError, TypeError, AttributeError):  # names that only type checkers import
        return {}
