"""What the command line answers to words that it cannot use, with the words that were meant.

Nothing here imports PyTorch, so that the answer comes at once.
"""

import importlib.util
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.errors import OverrideParseException

from wsss_lightning.choices import composed, group_names, known_keys, options, own_folders
from wsss_lightning.config import HIGHEST_SEED
from wsss_lightning.errors import InputError, closest, did_you_mean
from wsss_lightning.overrides import MULTIRUN, OVERRIDE, WITH_VALUE, parsed, split_options

FLAGS: tuple[str, ...] = (
    "--help",
    "-h",
    "--hydra-help",
    "--version",
    "--resolve",
    "--run",
    "-r",
    "--multirun",
    "-m",
    "--shell-completion",
    "-sc",
    "--info",
    "-i",
)
# options that say what is to be done; of one kind, or they contradict each other
MODES: dict[str, str] = {"-m": "m", "--multirun": "m", "-r": "r", "--run": "r", "-c": "c"}
MODES |= {"--cfg": "c", "--info": "i", "-i": "i", "-sc": "s", "--shell-completion": "s"}
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
    "output": ("runs",),
    "output_dir": ("runs",),
    "out_dir": ("runs",),
    "save_dir": ("runs",),
    "log_dir": ("runs",),
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
CFG = ("job", "hydra", "all")
HINTS = {"trainer.devices": " (several with trainer=ddp)"}
MOST = 6  # keys, or options of a group, in a message
ALL_KEYS = "--cfg job behind the other words prints all keys."


def check_words(words: Sequence[str]) -> None:
    """Look at what is typed before anything is composed.

    Raises:
        InputError: an option or an override cannot be used; the message says what was meant.
    """
    options_given, overrides = split_options(words)
    for word, behind in zip(words, [*words, ""][1:], strict=True):
        if word.startswith("-"):
            _check_option(word, behind)
    modes = [name for name in (o.partition("=")[0] for o in options_given) if name in MODES]
    if len({MODES[name] for name in modes}) > 1:
        raise InputError(
            f"{' and '.join(modes)} are given together, but each says what to do; leave one. "
            "--cfg job prints the configuration of one run."
        )
    _check_blanks(overrides)
    for word in overrides:
        _check_override(word)
    chosen = dict.fromkeys(w.partition("=")[2] for w in overrides if w.startswith("experiment="))
    if len(chosen) > 1:
        raise InputError(
            f"experiment is given twice, as {' and as '.join(chosen)}; give one, or run each by -m "
            f"experiment={','.join(chosen)}."
        )


def check_sweep(options_given: Sequence[str], overrides: Sequence[str]) -> None:
    """A sweep needs a key of several values.

    Raises:
        InputError: -m without one.
    """
    named = ("--config-name", "-cn")  # a file that may hold the values
    if not set(MULTIRUN) & set(options_given) or any(o.startswith(named) for o in options_given):
        return
    values = [parsed(word) for word in overrides]
    swept = any(
        type(value).__module__.startswith("hydra.") and hasattr(value, "tags") for value in values
    )
    if swept or any(word.startswith(("hydra/sweeper", "hydra.sweeper")) for word in overrides):
        return
    sweeper = composed([*options_given, *overrides]).hydra.sweeper
    if not sweeper.get("params"):
        raise InputError(
            "-m runs a command once for each of several values, but no key has several; give a "
            "list, such as seed=0,1,2, or leave out -m."
        )


def repeated(overrides: Iterable[str]) -> list[str]:
    """A note for each key that is given several values, of which the last one counts."""
    given: dict[str, list[str]] = {}
    for word in overrides:
        key, _, value = word.partition("=")
        given.setdefault(key, []).append(value)
    return [
        f"{key} is given as {' and as '.join(values)}; the last one counts."
        for key, values in given.items()
        if len(set(values)) > 1
    ]


def explain(error: Exception, words: Iterable[str]) -> str:
    """Hydra's message, its first paragraph, with the words that were meant for the wrong ones."""
    words, message = list(words), str(error).strip()
    if not message:  # of OmegaConf's parser
        return (
            "a ${...} of the configuration does not parse; close its brackets, or put the value "
            "in quotes."
        )
    cause = error.__cause__
    if cause is not None and str(cause) not in message:
        message = f"{message}\n{cause}"
    missing = re.search(r"Could not find '([\w/]+)/([^'/]+)'", message)
    if missing:
        return explain_option(missing[1], missing[2], words)
    unset = re.search(r"Missing mandatory value: ([\w.]+)", message)
    if unset:
        return f"{unset[1]} is not set; give it, as in {unset[1]}=VALUE."
    if "You must specify 'experiment'" in message:
        return _explain_missing_experiment(words)
    taken = re.search(r"An item is already at '([\w./@]+)'", message)
    if taken:
        return f"{taken[1]} is a key already; set it without the +."
    key = re.search(r"Could not (?:override|append to config|delete)[^']*'([\w./@]+)'", message)
    if key:
        return f"{key[1]} is no key; {_meant(key[1], words)}"
    kind = re.search(r"override \+*([^=\n]+)=.*\nValue '(.*)' of type .* to (\w+)", message)
    if kind:
        expected = {"Integer": "a whole number", "Float": "a number"}.get(kind[3], kind[3])
        span = f" from 0 to {HIGHEST_SEED}" if kind[1] == "seed" else ""
        return f"{kind[1]} is {kind[2]}, but {expected}{span} is expected; set one."
    if isinstance(error, OverrideParseException):
        reason = message.removeprefix(f"Error parsing override '{error.override}'\n")
        return (
            f"{error.override} does not parse: {reason.splitlines()[0]}. Lists are written [a,b], "
            "mappings {a: b}; put other values with brackets, commas or = into quotes for Hydra "
            "within those for the shell: \"KEY='VALUE'\"."
        )
    sweep = re.search(r"(?:Ambiguous value|Sweep).*?argument '?([^'\n]+?)'?$", message, re.M)
    if sweep:
        return (
            f"{sweep[1]} gives several values; add -m to run each of them, or write a list as "
            "[a,b] and a text with a comma in quotes: \"KEY='a,b'\"."
        )
    # the last lines say in which class Hydra was, which is nothing that a user can mend
    internal = re.compile(r"\s*(full_key|\w+_type)[:=]|.*hydra\.cc")
    lines = [line for line in message.splitlines() if not internal.match(line)]
    place = re.search(r"full_key: ([\w.\[\]]+)", message)
    lead = f"{place[1]}: " if place and place[1] not in lines[0] else ""
    return lead + "\n".join(lines)


def explain_option(group: str, name: str, words: Sequence[str]) -> str:
    """What is meant by an option that a group does not have."""
    if group.startswith("hydra"):
        return (
            f"{group}={name} is not known; Hydra's launchers and sweepers are plugins: install "
            'them by pip install "wsss-lightning[sweep]", or mend the name.'
        )
    folders = own_folders(words)
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


def _check_option(option: str, behind: str) -> None:
    name, equals, value = option.partition("=")
    if name == "--experimental-rerun":
        raise InputError(
            "--experimental-rerun unpickles a file, which may run any code; give the words of the "
            "run again, as hydra/overrides.yaml in its folder has them."
        )
    given = value if equals else behind
    if name in WITH_VALUE and (not given or (not equals and given.startswith("-"))):
        raise InputError(f"{option} needs a value behind it, as in {name} VALUE.")
    if name in ("--cfg", "-c") and given not in CFG:
        raise InputError(
            f"{name} is {given}, but it prints one of {', '.join(CFG)}; write {name} job."
        )
    if name in WITH_VALUE or name in FLAGS or re.match(r"-c[dpn].|-c(job|hydra|all)$", option):
        if equals and name in FLAGS and name not in ("--info", "-i"):
            raise InputError(f"{option} gives {name} a value, but it takes none; write {name}.")
        return
    key = name.lstrip("-")
    groups = group_names()
    shown = value or ("VALUE" if "=" in behind or behind.startswith("-") else behind or "VALUE")
    near = closest(key, [*groups, *SYNONYMS]) if len(key) > 1 else None
    if near in groups and near != key.lower() and key in SYNONYMS:
        near = None
    if near in groups or "." in key or key in known_keys([]):
        meant = f"{near if near in groups else key}={shown}"
    elif key in SYNONYMS or equals:
        meant = _meant(key, [])
    else:
        meant = ""
    if meant:
        raise InputError(
            f"{option} is no option; keys are given without dashes, as KEY=VALUE: {meant}"
        )
    known = [one for one in (*FLAGS, *WITH_VALUE) if one.startswith("--")]
    raise InputError(f"{option} is no option; {did_you_mean(option, known)}")


def _check_blanks(overrides: Sequence[str]) -> None:
    """Blanks around =, which the shell takes for the ends of words."""
    around = zip(["", *overrides], overrides, [*overrides[1:], ""], strict=False)
    for before, word, behind in around:
        if word == "=" or (word.startswith("=") and before and "=" not in before):
            value = behind if word == "=" else word[1:]
            raise InputError(
                f"{before} {word} {behind if word == '=' else ''}".strip()
                + f": there must be no blank around =; write {before or 'KEY'}={value or 'VALUE'}"
            )
        if word.endswith("=") and behind and "=" not in behind:
            raise InputError(
                f"{word} {behind}: there must be no blank around =; write {word}{behind}"
            )


def _check_override(word: str) -> None:
    match = OVERRIDE.fullmatch(word)
    if match is None:
        if re.fullmatch(r"~[\w.@/]+", word):
            return  # deletes a key
        raise InputError(f"{word} is no KEY=VALUE; {_without_key(word)}")
    key, value = match[1].lstrip("+~"), match[2]
    if not key:
        raise InputError(f"{word} has no key before the =; {_without_key(value)}")
    if re.search(r"\s", key):
        joined = re.sub(r"\s+", "", key)
        raise InputError(
            f"{word}: a key has no blanks; write {joined}={value.strip()}, and separate overrides "
            "by blanks outside of quotes."
        )
    if key in group_names():
        bare = re.sub(r"\.ya?ml$", "", value)
        if bare != value:
            raise InputError(
                f"{word}: options are given without folder and suffix; write {key}="
                f"{bare.rpartition('/')[2]}"
            )
        if not value.strip():
            raise InputError(f"{word} names no option of {key}; --help lists those of each group.")


def _without_key(value: str) -> str:
    """What a value without a key may be meant as."""
    groups = [group for group in group_names() if value in options(group)]
    if groups:
        return f"did you mean {' or '.join(f'{group}={value}' for group in groups)}?"
    near = closest(value, options("experiment"))
    if near:
        return f"did you mean experiment={near}?"
    return "give every word as KEY=VALUE, such as experiment=cam or seed=1."


def _explain_missing_experiment(words: Sequence[str]) -> str:
    """The slip for which no experiment is chosen, or the list of them."""
    known: list[str] = []
    for word in words:
        match = OVERRIDE.fullmatch(word)
        if match is None or word.startswith("-"):
            continue
        known = known or known_keys(words)
        key = match[1].lstrip("+~")
        if key not in known and not key.startswith("hydra"):
            return f"{key} is no key; {_meant(key, words)}"
    folders = own_folders(words)
    groups = {group: options(group, *folders) for group in group_names()}
    for word in words:
        key, _, name = word.partition("=")
        if key in groups and re.fullmatch(r"[\w.-]+", name) and name not in groups[key]:
            return explain_option(key, name, words)
    listed = "\n".join(f"  experiment={name}" for name in groups["experiment"])
    return f"choose an experiment (--help says more):\n{listed}"


def _meant(key: str, words: Sequence[str]) -> str:
    """Which keys may be meant by one that does not exist."""
    known = known_keys(words)
    groups = group_names()
    value = next((w.partition("=")[2] for w in words if w.lstrip("+~").startswith(f"{key}=")), "")
    last = key.rpartition(".")[2]
    by_case = [one for one in known if one.lower() == key.lower()]
    starting = [group for group in groups if len(key) > 1 and group.startswith(key.lower())]
    near = closest(key, groups)
    for group in [*by_case, *starting, *([near] if near else [])]:
        if group in groups and value:
            known_value = value in options(group, *own_folders(words))
            if known_value or group in by_case:
                return f"did you mean {group}={value}?"
    if by_case:
        return f"did you mean {by_case[0]}?"
    ends = (f".{last}", *SYNONYMS.get(last.lower(), ()))
    same = [one for one in known if one == last or one in ends or one.endswith(ends)]
    same = [one for one in same if not one.startswith("relabel")]
    if same and len(same) <= MOST:
        return f"did you mean {' or '.join(one + HINTS.get(one, '') for one in same)}?"
    close = closest(key, known)
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
