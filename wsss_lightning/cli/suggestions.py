"""Which words are meant by ones that do not exist: keys, options of groups, networks.

Nothing here imports PyTorch, so that the answer comes at once.
"""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from wsss_lightning.cli.options import composed, group_names, known_keys, options, user_config_dirs
from wsss_lightning.config.renamed import new_key
from wsss_lightning.errors import closest, did_you_mean

# what other programs call our keys: the last part of a key, or a whole one
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
MOST = 6  # keys, or options of a group, in a message
ALL_KEYS = "--cfg job behind the other words prints all keys."


def meant_key(key: str, words: Sequence[str]) -> str:
    """Which keys may be meant by one that does not exist."""
    new = new_key(key)
    if new is not None:
        return f"it was renamed to {new}."
    known = known_keys(words)
    groups = group_names()
    value = next((w.partition("=")[2] for w in words if w.lstrip("+~").startswith(f"{key}=")), "")
    last = key.rpartition(".")[2]
    by_case = [one for one in known if one.lower() == key.lower()]
    starting = [group for group in groups if len(key) > 1 and group.startswith(key.lower())]
    near = closest(key, groups)
    for group in [*by_case, *starting, *([near] if near else [])]:
        if group in groups and value:
            known_value = value in options(group, *user_config_dirs(words))
            if known_value or group in by_case:
                return f"did you mean {group}={value}?"
    if by_case:
        return f"did you mean {by_case[0]}?"
    ends = (f".{last}", *SYNONYMS.get(last.lower(), ()))
    same = [one for one in known if one == last or one in ends or one.endswith(ends)]
    same = [one for one in same if not one.startswith("relabel")]
    if same and len(same) <= MOST:
        return f"did you mean {' or '.join(one + HINTS.get(one, '') for one in same)}?"
    close = closest(key, known) or (starting[0] if starting else None)
    if close:
        return f"did you mean {close}?"
    return f"no key is similar; {ALL_KEYS}"


def _network_option(name: str, known: Sequence[str]) -> str | None:
    """How a network of segmentation_models_pytorch or timm is chosen; None where none has it."""
    bare = re.split(r"[.]", name.removeprefix("tu-"))[0]
    if not re.fullmatch(r"\w+", bare):
        return None
    if "timm" in known and _defines("timm", "models", rf"^def {bare}\("):
        generic = f"backbone=timm backbone.name={name}"
    elif _defines("timm", "models", rf"^def {bare}\("):
        generic = f"backbone=resnet18 backbone.name=tu-{name.removeprefix('tu-')}"
    else:
        generic = None
    if _defines("segmentation_models_pytorch", "encoders", rf"^\s*\"{re.escape(name)}\": \{{"):
        return f"backbone=resnet18 backbone.name={name}"
    return generic


def _defines(package: str, folder: str, pattern: str) -> bool:
    """Whether a source file of a package has a line; importing it takes seconds."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return False
    line = re.compile(pattern, re.MULTILINE)
    paths = (Path(spec.origin).parent / folder).glob("*.py")
    return any(line.search(path.read_text(encoding="utf-8")) for path in paths)


def meant_word(value: str) -> str:
    """What a value without a key may be meant as."""
    if value.lower() in ("help", "version", "info"):
        return f"did you mean --{value.lower()}?"
    pair = re.fullmatch(r"([\w.]+):\s*(\S+)", value)
    if pair and pair[1] in known_keys([]):
        return f"did you mean {pair[1]}={pair[2]}?"
    groups = [group for group in group_names() if value in options(group)]
    if groups:
        return f"did you mean {' or '.join(f'{group}={value}' for group in groups)}?"
    near = closest(value, options("experiment"))
    if near:
        return f"did you mean experiment={near}?"
    return "give every word as KEY=VALUE, such as experiment=cam or seed=1."


def explain_option(group: str, name: str, words: Sequence[str]) -> str:
    """What is meant by an option that a group does not have."""
    if group.startswith("hydra"):
        return (
            f"{group}={name} is not known; Hydra's launchers and sweepers are plugins: install "
            'them by pip install "wsss-lightning[sweep]", or mend the name.'
        )
    folders = user_config_dirs(words)
    known = options(group, *folders)
    lead = f"{group}={name} is not known"
    bare = name.removesuffix(".yaml").removesuffix(".yml")
    if bare in known:
        return f"{lead}; names are given without their suffix: {group}={bare}"
    others = [one for one in group_names() if one != group and name in options(one, *folders)]
    if group == "backbone" and name not in known:
        network = _network_option(name, known)
        if network:
            return f"{lead} as a file, but it is a network: {network}"
    if others:
        told = ", ".join(f"{other}={name}" for other in others)
        if "experiment" in others:
            choice = composed(words, experiment=name).hydra.runtime.choices.get(group)
            told += f" (which has {group}={choice})"
        can = f"; {group} can be {', '.join(known)}" if len(known) <= MOST else ""
        return f"{lead}, but there is {told}{can}."
    return f"{lead}; {did_you_mean(name, known)}"
