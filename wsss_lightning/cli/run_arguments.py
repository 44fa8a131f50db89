"""Arguments of the commands that take a configuration: run and check-data."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_lightning.cli.parser import verb_parser

if TYPE_CHECKING:
    from omegaconf import DictConfig


def parser() -> argparse.ArgumentParser:
    """Options of a run."""
    made = verb_parser("run", "Train and evaluate.")
    add_run_arguments(made)
    made.add_argument("--version", action="store_true", help="print the version")
    return made


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add Hydra's options and the overrides, for help and completion; Hydra itself parses them."""
    overrides = parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="settings, such as experiment=seam or seed=1",
    )
    overrides.completer = complete_override  # type: ignore[attr-defined]
    parser.add_argument(
        "--config-dir", "-cd", metavar="DIR", help="a folder of your own configuration files"
    )
    parser.add_argument(
        "--config-name", "-cn", metavar="NAME", help="a file in it that holds a whole command"
    )
    parser.add_argument(
        "--multirun", "-m", action="store_true", help="one run for each of several values"
    )
    parser.add_argument(
        "--cfg",
        "-c",
        choices=("job", "hydra", "all"),
        metavar="WHAT",
        help="print the configuration: job, hydra or all; job is every key of a run",
    )
    parser.add_argument("--resolve", action="store_true", help="with --cfg: replace references")
    parser.add_argument(
        "--info",
        "-i",
        nargs="?",
        choices=("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
        metavar="WHAT",
        help="print how the configuration is composed",
    )
    parser.add_argument("--hydra-help", action="store_true", help="all options of Hydra")


def complete_override(
    prefix: str, parsed_args: argparse.Namespace, parser: argparse.ArgumentParser, **_: Any
) -> Mapping[str, str]:
    """Completions of an override, each with its description; the signature is argcomplete's.

    Args:
        prefix: what is typed of the override.
        parsed_args: arguments before it.
        parser: parser of the verb.
    """
    from wsss_lightning.cli.options import user_config_dirs
    from wsss_lightning.cli.verbs import DEFAULT, VERBS

    given = [*(parsed_args.overrides or ())]
    if parsed_args.config_dir:
        given.append(f"--config-dir={parsed_args.config_dir}")
    sign = prefix[: len(prefix) - len(prefix.lstrip("+~"))]
    key, equals, value = prefix.removeprefix(sign).partition("=")
    if equals:
        values = _values(key, value, given, user_config_dirs(given))
        return {f"{sign}{key}={one}": text for one, text in values.items()}
    verbs = {}
    if not given and parser.prog.split()[-1] == DEFAULT:
        verbs = {name: verb.summary for name, verb in VERBS.items() if name != DEFAULT}
        if not prefix:
            return {"experiment=": "what to train"} | verbs
    keys = {f"{sign}{one}=": text for one, text in _keys(key, given).items()}
    return verbs | keys


def _keys(prefix: str, given: list[str]) -> dict[str, str]:
    """Groups and keys that begin with a prefix; the description of a key is its value."""
    from omegaconf import OmegaConf

    from wsss_lightning.cli.options import composed, group_summaries, known_keys

    summaries = group_summaries()  # without `recipe`, which experiments choose
    cfg = composed(given)
    keys = {}
    for key in known_keys(given):
        is_wanted = key.startswith(prefix) and (prefix or "." not in key) and "._" not in key
        is_group = key in summaries or key == "recipe"
        if is_wanted and not is_group and not OmegaConf.is_dict(OmegaConf.select(cfg, key)):
            keys[key] = _shown(cfg, key)
    return {name: text for name, text in summaries.items() if name.startswith(prefix)} | keys


def _values(key: str, value: str, given: list[str], folders: list[Path]) -> dict[str, str]:
    """Values of a key that begin with a text; a sweep is completed after its last comma."""
    from argcomplete.completers import FilesCompleter

    from wsss_lightning.cli.options import composed, group_names, kind_of, option_summary, options

    group = key.partition("@")[0]
    done, comma, last = value.rpartition(",")
    if group in group_names():
        used = done.split(",")
        return {
            f"{done}{comma}{name}": option_summary(group, name, *folders)
            for name in options(group, *folders)
            if name.startswith(last) and name not in used
        }
    cfg = composed(given)
    if kind_of(key, cfg) == "path":
        return dict.fromkeys(FilesCompleter()(value), "")
    shown = _shown(cfg, key)
    known = {"true": "", "false": ""} if shown in ("true", "false") else {shown: ""}
    known = {one: "default" if one == shown else text for one, text in known.items()}
    return {f"{done}{comma}{one}": text for one, text in known.items() if one.startswith(last)}


def _shown(cfg: "DictConfig", key: str) -> str:
    """The value of a key as it is typed on the command line; empty if it is not set."""
    from omegaconf import OmegaConf

    value = OmegaConf.select(cfg, key)
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return "" if plain is None else json.dumps(plain).replace(" ", "").strip('"')
