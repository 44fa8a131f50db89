"""Suggestions for arguments that do not exist: keys, options of groups, networks.

Nothing here imports PyTorch, so that messages appear at once.
"""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from wsss_lightning.cli.options import composed, group_names, known_keys, options, user_config_dirs
from wsss_lightning.cli.verbs import PROGRAM, VERBS
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.config.renamed import new_key
from wsss_lightning.errors import closest, did_you_mean

# names of our keys in other programs: the end of a key, or a whole key
SYNONYMS: dict[str, tuple[str, ...]] = {
    "epochs": (".max_epochs",),
    "num_epochs": (".max_epochs",),
    "n_epochs": (".max_epochs",),
    "learning_rate": (".optimizer.lr",),
    "lr": (".optimizer.lr",),
    "batch": (".batch_size",),
    "bs": (".batch_size",),
    "wd": (".weight_decay",),
    "gpus": ("trainer.devices",),
    "gpu": ("trainer.devices",),
    "num_gpus": ("trainer.devices",),
    "ngpus": ("trainer.devices",),
    "n_gpus": ("trainer.devices",),
    "nproc": ("trainer.devices",),
    "device": ("trainer.accelerator", "trainer.devices"),
    "num_workers": ("workers",),
    "random_seed": ("seed",),
    "output": ("output_dir",),
    "out_dir": ("output_dir",),
    "save_dir": ("output_dir",),
    "log_dir": ("output_dir",),
    "data_dir": ("data.root",),
    "data_root": ("data.root",),
    "data_path": ("data.root",),
    "dataset": ("data",),
    "root": ("data.root",),
    "path": ("data.root",),
    "encoder": ("backbone",),
    "arch": ("backbone", "segmenter"),
    "model": ("backbone", "method"),
    "network": ("backbone", "method"),
    "threshold": ("seeds.background_score",),
}
HINTS = {"trainer.devices": " (several with trainer=ddp)"}
MAX_SHOWN = 6  # maximum number of keys or options in a message
ALL_KEYS = "append --cfg job to print all keys."


def suggest_key(key: str, arguments: Sequence[str]) -> str:
    """End of a message: keys similar to one that does not exist."""
    new = new_key(key)
    if new is not None:
        return f"it was renamed to {new}."
    known, groups = known_keys(arguments), group_names()
    values = (a.partition("=")[2] for a in arguments if a.lstrip("+~").startswith(f"{key}="))
    value = next(values, "")
    last = key.rpartition(".")[2]
    by_case = [one for one in known if one.lower() == key.lower()]
    prefixed = [group for group in groups if len(key) > 1 and group.startswith(key.lower())]
    near = closest(key, groups)
    for group in [*by_case, *prefixed, *([near] if near else [])]:
        if group in groups and value:
            is_option = value in options(group, *user_config_dirs(arguments))
            if is_option or group in by_case:
                return f"did you mean {group}={value}?"
    if by_case:
        return f"did you mean {by_case[0]}?"
    for option in _options_with(key):
        return f"it is a key of {option}; choose that option too."
    ends = (f".{last}", *SYNONYMS.get(last.lower(), ()))
    same = [one for one in known if one == last or one in ends or one.endswith(ends)]
    same = [one for one in same if not one.startswith("relabel")]
    if same and len(same) <= MAX_SHOWN:
        return f"did you mean {' or '.join(one + HINTS.get(one, '') for one in same)}?"
    near = closest(key, known) or (prefixed[0] if prefixed else None)
    return f"did you mean {near}?" if near else f"no key is similar; {ALL_KEYS}"


def _options_with(key: str) -> list[str]:
    """Options whose file sets a key, as in `data=folder` for `data.tags`."""
    group, _, name = key.partition(".")
    files = sorted((conf_folder() / group).glob("*.yaml")) if group in group_names() else []
    found = []
    for file in files:
        content = OmegaConf.load(file)
        if isinstance(content, DictConfig) and name in content:
            found.append(f"{group}={file.stem}")
    return found


def suggest_argument(value: str) -> str:
    """End of a message: suggestions for a value without a key."""
    if value.lower() in ("help", "version", "info"):
        return f"did you mean --{value.lower()}?"
    pair = re.fullmatch(r"([\w.]+):\s*(\S+)", value)
    if pair and pair[1] in known_keys([]):
        return f"did you mean {pair[1]}={pair[2]}?"
    groups = [group for group in group_names() if value in options(group)]
    if groups:
        return f"did you mean {' or '.join(f'{group}={value}' for group in groups)}?"
    if value in VERBS:
        return f"give the verb first: {PROGRAM} {value} ..."
    near = closest(value, [*VERBS, *options("experiment")])
    if near in VERBS:
        return f"did you mean {PROGRAM} {near}?"
    if near:
        return f"did you mean experiment={near}?"
    return (
        "give every argument as KEY=VALUE, such as experiment=cam or seed=1, or one of the verbs "
        f"{', '.join(VERBS)} first."
    )


def explain_option(group: str, name: str, arguments: Sequence[str]) -> str:
    """Message about an option that a group does not have.

    Args:
        group: a configuration group.
        name: the missing option.
        arguments: arguments as typed, which may add folders of options.
    """
    if group.startswith("hydra"):
        return (
            f"{group}={name} does not exist. Hydra's launchers and sweepers are plugins: install "
            'them with pip install "wsss-lightning[sweep]", or correct the name.'
        )
    folders = user_config_dirs(arguments)
    known = options(group, *folders)
    lead = f"{group}={name} does not exist"
    bare = name.removesuffix(".yaml").removesuffix(".yml")
    if bare in known:
        return f"{lead}; give the name without its suffix: {group}={bare}"
    if group == "backbone" and name not in known:
        network = _network_option(name, known)
        if network:
            return f"{lead} as a file, but it is a network: {network}"
    others = [one for one in group_names() if one != group and name in options(one, *folders)]
    if others:
        same_name = ", ".join(f"{other}={name}" for other in others)
        if "experiment" in others:
            choice = composed(arguments, experiment=name).hydra.runtime.choices.get(group)
            same_name += f" (which has {group}={choice})"
        listed = f"; {group} can be {', '.join(known)}" if len(known) <= MAX_SHOWN else ""
        return f"{lead}, but there is {same_name}{listed}."
    return f"{lead}; {did_you_mean(name, known)}"


def _network_option(name: str, known: Sequence[str]) -> str | None:
    """Override that chooses a network of segmentation_models_pytorch or timm, if one has it."""
    bare = re.split(r"[.]", name.removeprefix("tu-"))[0]
    if not re.fullmatch(r"\w+", bare):
        return None
    if _defines("segmentation_models_pytorch", "encoders", rf"^\s*\"{re.escape(name)}\": \{{"):
        return f"backbone=resnet18 backbone.name={name}"
    if not _defines("timm", "models", rf"^def {bare}\("):
        return None
    if "timm" in known:
        return f"backbone=timm backbone.name={name}"
    return f"backbone=resnet18 backbone.name=tu-{name.removeprefix('tu-')}"


def _defines(package: str, folder: str, pattern: str) -> bool:
    """Whether a source file of a package has a matching line; importing it would take seconds."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return False
    line = re.compile(pattern, re.MULTILINE)
    paths = (Path(spec.origin).parent / folder).glob("*.py")
    return any(line.search(path.read_text(encoding="utf-8")) for path in paths)
