"""What the command line answers to words that it cannot use, with the words that were meant.

Nothing here imports PyTorch, so that the answer comes at once.
"""

import re
from collections.abc import Iterable, Sequence

from hydra.errors import OverrideParseException

from wsss_lightning.cli.options import composed, group_names, known_keys, options, user_config_dirs
from wsss_lightning.cli.overrides import (
    MULTIRUN,
    OVERRIDE,
    WITH_VALUE,
    exists,
    parsed,
    split_options,
)
from wsss_lightning.cli.suggestions import SYNONYMS, explain_option, meant_key, meant_word
from wsss_lightning.config.schema import HIGHEST_SEED
from wsss_lightning.errors import InputError, closest, did_you_mean

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
CFG = ("job", "hydra", "all")


def check_overrides(words: Sequence[str]) -> None:
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
        return f"{key[1]} is not a key; {meant_key(key[1], words)}"
    unknown = re.search(r"Key '\w+' not in '\w+'", message)
    place = re.search(r"full_key: ([\w.\[\]]+)", message)
    if unknown and place:
        file = re.search(r"In '([^']+)'", message)
        source = f", which {file[1]}.yaml sets," if file else ""
        return f"{place[1]}{source} is not a key; {meant_key(place[1], words)}"
    if isinstance(error, OverrideParseException):
        reason = message.removeprefix(f"Error parsing override '{error.override}'\n")
        reason = reason.splitlines()[0].partition(" expecting ")[0]
        return (
            f"{error.override} does not parse: {reason}. Lists are written [a,b], mappings "
            "{a: b}; put other values with brackets, commas or = into quotes for Hydra within "
            "those for the shell: \"KEY='VALUE'\"."
        )
    kind = re.search(r"override \+*([^=\n]+)=.*\nValue '(.*)' of type .* to (\w+)", message)
    if kind:
        expected = {"Integer": "a whole number", "Float": "a number"}.get(kind[3], kind[3])
        span = f" from 0 to {HIGHEST_SEED}" if kind[1] == "seed" else ""
        return f"{kind[1]} is {kind[2] or 'empty'}, but {expected}{span} is expected; set one."
    sweep = re.search(r"(?:Ambiguous value|Sweep).*?argument '?([^'\n]+?)'?$", message, re.M)
    if sweep:
        return (
            f"{sweep[1]} gives several values; add -m to run each of them, or write a list as "
            "[a,b] and a text with a comma in quotes: \"KEY='a,b'\"."
        )
    # the last lines say in which class Hydra was, which is nothing that a user can mend
    internal = re.compile(r"\s*(full_key|\w+_type)[:=]|.*hydra\.cc")
    lines = [line for line in message.splitlines() if not internal.match(line)]
    lead = f"{place[1]}: " if place and place[1] not in lines[0] else ""
    return lead + "\n".join(lines)


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
        meant = meant_key(key, [])
    else:
        meant = ""
    if meant:
        raise InputError(
            f"{option} is not an option; keys are given without dashes, as KEY=VALUE: {meant}"
        )
    known = [one for one in (*FLAGS, *WITH_VALUE) if one.startswith("--")]
    raise InputError(f"{option} is not an option; {did_you_mean(option, known)}")


def _check_blanks(overrides: Sequence[str]) -> None:
    """Blanks around =, which the shell takes for the ends of words."""
    around = zip(["", *overrides], overrides, [*overrides[1:], ""], strict=False)
    groups = group_names()
    for before, word, behind in around:
        if word in groups and re.fullmatch(r"[\w.-]+", behind):
            raise InputError(
                f"{word} {behind}: a key and its value are joined; write {word}={behind}"
            )
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
        raise InputError(f"{word} is not of the form KEY=VALUE; {meant_word(word)}")
    key, value = match[1].lstrip("+~"), match[2]
    if not key:
        raise InputError(f"{word} has no key before the =; {meant_word(value)}")
    if value.startswith("="):
        raise InputError(f"{word} has = twice; write {match[1]}={value.lstrip('= ')}")
    several = re.fullmatch(r"([^\s,\[{'\"]+)\s+([\w.+~]+=.*)", value, re.DOTALL)
    if several and not exists(value):
        raise InputError(
            f"{word} holds several overrides in one word; give {match[1]}={several[1]} and "
            f"{several[2]} as words of their own, outside of quotes."
        )
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
        if value.strip() in ("", "null"):
            raise InputError(f"{word} names no option of {key}; --help lists those of each group.")


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
            return f"{key} is not a key; {meant_key(key, words)}"
    folders = user_config_dirs(words)
    groups = {group: options(group, *folders) for group in group_names()}
    for word in words:
        key, _, name = word.partition("=")
        if key in groups and re.fullmatch(r"[\w.-]+", name) and name not in groups[key]:
            return explain_option(key, name, words)
    listed = "\n".join(f"  experiment={name}" for name in groups["experiment"])
    return f"choose an experiment (--help says more):\n{listed}"
