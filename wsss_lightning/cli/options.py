"""Groups, options and keys of the command line.

Nothing here imports PyTorch, so that error messages appear at once.
"""

import ast
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from wsss_lightning.config.folder import conf_folder
from wsss_lightning.config.schema import Config

Kind = Literal["path", "text", "other"]

# keys that are paths but no parameter of a constructor
FOLDERS = ("output_dir", "pseudo.masks", "pseudo.review", "hydra.run.dir", "hydra.sweep.dir")
# names of paths among the parameters of other packages
NAMED_AS_PATH = re.compile(r"(^|[._])(dir|dirpath|filepath|path)$")


def group_names() -> list[str]:
    """Names of our configuration groups.

    Left out are Hydra's own groups, below `hydra`, and `published`, which holds tables of published
    runs.
    """
    others = ("hydra", "published")
    return [
        path.name for path in conf_folder().iterdir() if path.is_dir() and path.name not in others
    ]


def options(group: str, *user_dirs: Path) -> list[str]:
    """Names of the files of a group, including those in the user's folders."""
    folders = (conf_folder(), *user_dirs)
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def option_summary(group: str, name: str, *user_dirs: Path) -> str:
    """The first comment in the file of an option; empty if there is none."""
    paths = (folder / group / f"{name}.yaml" for folder in (*user_dirs, conf_folder()))
    path = next(one for one in paths if one.is_file())
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line[2:] for line in lines if re.match(r"# (?!@)", line)), "")


def group_summaries() -> dict[str, str]:
    """What each group chooses: the comments in the defaults of config.yaml."""
    text = (conf_folder() / "config.yaml").read_text(encoding="utf-8")
    return dict(re.findall(r"^  - (\w+): \S+ +# (.+)$", text, re.MULTILINE))


def user_config_dirs(arguments: Iterable[str]) -> list[Path]:
    """Folders given by --config-dir, --config-path and hydra.searchpath."""
    given = "\n".join(arguments)
    option = r"^(?:--config-dir|-cd|--config-path|-cp)[=\n](.+)$|^-c[dp](?![=\n])(.+)$"
    folders = [one or other for one, other in re.findall(option, given, re.MULTILINE)]
    for line in re.findall(r"^\+*hydra\.searchpath=(.*)$", given, re.MULTILINE):
        folders += re.findall(r"file://([^,'\"\]\s]+)", line)
    return [Path(expand_user(folder)).absolute() for folder in folders]


def expand_user(text: str) -> str:
    """Expand a leading `~` or `~user` as a shell does; leave an unknown user as it is."""
    return os.path.expanduser(text)  # noqa: PTH111 (Path drops slashes, and raises for unknown users)


def quoted(value: str) -> str:
    """Text quoted for Hydra's grammar."""
    return QuotedString(text=value, quote=Quote.single).with_quotes()


def composed(arguments: Iterable[str], experiment: str | None = None) -> DictConfig:
    """The configuration of the chosen groups, including Hydra's own node.

    Args:
        arguments: as typed; choices that do not exist and overrides of keys are ignored.
        experiment: used if the arguments choose none; None: cam.
    """
    arguments = list(arguments)
    folders = user_config_dirs(arguments)
    known = {group: options(group, *folders) for group in group_names()}
    chosen = {}
    for argument in arguments:
        group, _, name = argument.partition("=")
        if name in known.get(group, ()):
            chosen[group] = name
    chosen.setdefault("experiment", experiment or "cam")
    search = ",".join(quoted(f"file://{folder}") for folder in folders if folder.is_dir())
    overrides = [f"{group}={name}" for group, name in chosen.items()]
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return hydra.compose(
            "config", [*overrides, f"hydra.searchpath=[{search}]"], return_hydra_config=True
        )


def known_keys(arguments: Iterable[str]) -> list[str]:
    """All keys of the composed configuration and all groups, without Hydra's own keys."""
    cfg = composed(arguments)
    keys = [key for name in cfg if name != "hydra" for key in _keys(cfg._get_node(name), str(name))]
    return list(dict.fromkeys([*group_names(), *keys]))


def kind_of(key: str, cfg: DictConfig) -> Kind:
    """Kind of a key's value: path, text (also if not set), or other."""
    if key in path_keys(cfg) or NAMED_AS_PATH.search(key):
        return "path"
    parent_key, _, name = key.rpartition(".")
    parent = OmegaConf.select(cfg, parent_key) if parent_key else cfg
    if not isinstance(parent, DictConfig) or name not in parent:
        return "text"
    node: Any = parent._get_node(name)
    if OmegaConf.is_config(node):
        return "text" if node._is_missing() or node._is_none() else "other"
    return "text" if node._value() is None or isinstance(node._value(), str) else "other"


def path_keys(cfg: DictConfig) -> set[str]:
    """Keys that set a parameter of type Path, and the keys that they refer to."""
    keys = set(FOLDERS)
    for key, node in _targets(cfg, ""):
        target: Any = node._get_node("_target_")
        for name in _path_parameters(str(target._value())):
            keys.add(f"{key}.{name}")
            value: Any = node._get_node(name, validate_access=False)
            if value is not None and isinstance(value._value(), str):
                keys |= set(re.findall(r"\$\{([\w.]+)\}", value._value()))
    return keys


@cache
def _path_parameters(target: str) -> tuple[str, ...]:
    """Parameters of type Path of our own constructors, parsed because importing takes seconds."""
    package, *parts, name = target.split(".")
    path = Path(__file__).parents[1].joinpath(*parts).with_suffix(".py")
    if package != __package__.partition(".")[0] or not path.is_file():
        return ()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if getattr(node, "name", None) == name:
            return tuple(_annotated_as_path(node))
    return ()


def _annotated_as_path(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        for argument in (*node.args.args, *node.args.kwonlyargs):
            if _names_path(argument.annotation):
                yield argument.arg
    elif isinstance(node, ast.ClassDef):
        fields = any("dataclass" in ast.unparse(one) for one in node.decorator_list)
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                yield from _annotated_as_path(part)
            elif (
                fields
                and isinstance(part, ast.AnnAssign)
                and isinstance(part.target, ast.Name)
                and _names_path(part.annotation)
            ):
                yield part.target.id


def _names_path(annotation: ast.expr | None) -> bool:
    return annotation is not None and bool(re.search(r"\bPath\b", ast.unparse(annotation)))


def _targets(node: Any, key: str) -> Iterator[tuple[str, DictConfig]]:
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return
    if node._is_interpolation():
        return
    if "_target_" in node:
        yield key, node
    for name in node:
        yield from _targets(node._get_node(name), f"{key}.{name}" if key else str(name))


def _keys(node: Any, key: str) -> list[str]:
    keys = [key]
    if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing()):
        if node._is_interpolation():
            return keys
        for name in node:
            keys += (
                [f"{key}.{name}"]
                if str(name).startswith("_")
                else _keys(node._get_node(name), f"{key}.{name}")
            )
    return keys


ConfigStore.instance().store(name="schema", node=Config)
