"""Error messages for invalid arguments, with suggestions.

Nothing here imports PyTorch, so that messages appear at once.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from hydra.errors import OverrideParseException
from yaml import YAMLError

from wsss_lightning.cli.handover import hand_over_error
from wsss_lightning.cli.options import composed, group_names, known_keys, options, user_config_dirs
from wsss_lightning.cli.overrides import (
    MULTIRUN,
    OVERRIDE,
    WITH_VALUE,
    exists,
    parsed,
    split_options,
)
from wsss_lightning.cli.suggestions import (
    SYNONYMS,
    explain_option,
    suggest_argument,
    suggest_key,
)
from wsss_lightning.config.schema import HIGHEST_SEED
from wsss_lightning.errors import InputError, closest, did_you_mean
from wsss_lightning.utils.console import console

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
# options that choose an action, with their kind; options of two kinds contradict each other
MODES: dict[str, str] = {"-m": "m", "--multirun": "m", "-r": "r", "--run": "r", "-c": "c"}
MODES |= {"--cfg": "c", "--info": "i", "-i": "i", "-sc": "s", "--shell-completion": "s"}
CFG = ("job", "hydra", "all")


def fail(message: str) -> NoReturn:
    """Print an error that the user can correct, and exit with code 1."""
    console.file.flush()
    if not hand_over_error(message):
        print(f"\nerror: {message}", file=sys.stderr)
    sys.exit(1)


def explain_error(error: Exception, arguments: Iterable[str]) -> str:
    """Message for an error that the user can correct.

    Args:
        error: raised by this package, Hydra, OmegaConf or the YAML parser.
        arguments: arguments of the command, as Hydra read them.
    """
    cause = input_error_of(error)
    if cause is not None:
        return _name_keys(strip_traceback(str(cause)))
    if isinstance(error, YAMLError):
        return f"A configuration file is not valid YAML; correct it:\n{error}"
    return explain_hydra_error(error, list(arguments))


def input_error_of(error: BaseException | None) -> InputError | None:
    """The InputError that caused an error; Hydra wraps whatever a constructor raises."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error


def strip_traceback(message: str) -> str:
    """A message without the traceback that a worker process puts before it."""
    if "Traceback (most" in message:
        return message.rpartition("InputError: ")[2].strip()
    return message


def _name_keys(message: str) -> str:
    """A message about a parameter of the data set, with the parameter's configuration key."""
    if "`" not in message:
        return message
    from wsss_lightning.steps.datasets import name_keys

    return name_keys(message)


def check_overrides(arguments: Sequence[str]) -> None:
    """Check arguments before anything is composed.

    Raises:
        InputError: an option or an override cannot be used; the message suggests a correction.
    """
    given, overrides = split_options(arguments)
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        if argument.startswith("-"):
            _check_option(argument, following)
    modes = [name for name in (option.partition("=")[0] for option in given) if name in MODES]
    if len({MODES[name] for name in modes}) > 1:
        raise InputError(
            f"{' and '.join(modes)} contradict each other; leave out all but one. --cfg job prints "
            "the configuration of one run."
        )
    _check_blanks(overrides)
    for override in overrides:
        _check_override(override)
    chosen = dict.fromkeys(o.partition("=")[2] for o in overrides if o.startswith("experiment="))
    if len(chosen) > 1:
        raise InputError(
            f"experiment is given twice, as {' and as '.join(chosen)}; give one, or run each with "
            f"-m experiment={','.join(chosen)}."
        )


def check_sweep(given: Sequence[str], overrides: Sequence[str]) -> None:
    """Check that a sweep has a key with several values.

    Args:
        given: options.
        overrides: KEY=VALUE.

    Raises:
        InputError: -m is given, but no key has several values.
    """
    config_name = ("--config-name", "-cn")  # the file may hold the values
    if not set(MULTIRUN) & set(given) or any(o.startswith(config_name) for o in given):
        return
    values = [parsed(override) for override in overrides]
    is_swept = any(
        type(value).__module__.startswith("hydra.") and hasattr(value, "tags") for value in values
    )
    if is_swept or any(o.startswith(("hydra/sweeper", "hydra.sweeper")) for o in overrides):
        return
    sweeper = composed([*given, *overrides]).hydra.sweeper
    if not sweeper.get("params"):
        raise InputError(
            "-m runs a command once for each of several values, but no key has several values. "
            "Give a list, such as seed=0,1,2, or leave out -m."
        )


def repeated_keys(overrides: Iterable[str]) -> list[str]:
    """A note for each key that is given different values, of which Hydra uses the last."""
    given: dict[str, list[str]] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        given.setdefault(key, []).append(value)
    return [
        f"{key} is given as {' and as '.join(values)}; the last value is used."
        for key, values in given.items()
        if len(set(values)) > 1
    ]


def explain_hydra_error(error: Exception, arguments: Sequence[str]) -> str:
    """Message for an error of Hydra or OmegaConf, with a suggestion."""
    message = str(error).strip()
    if not message:  # of OmegaConf's parser
        return (
            "a ${...} of the configuration cannot be parsed; close its brackets, or put the value "
            "in quotes."
        )
    cause = error.__cause__
    if cause is not None and str(cause) not in message:
        message = f"{message}\n{cause}"
    if isinstance(error, OverrideParseException):
        return _explain_syntax(error.override, message)
    return _explain_choice(message, arguments) or _explain_value(message) or _shorten(message)


def _explain_choice(message: str, arguments: Sequence[str]) -> str | None:
    """Message about a key or an option that does not exist or is not set."""
    missing = re.search(r"Could not find '([\w/]+)/([^'/]+)'", message)
    if missing:
        return explain_option(missing[1], missing[2], arguments)
    unset = re.search(r"Missing mandatory value: ([\w.]+)", message)
    if unset:
        return f"{unset[1]} is not set; give {unset[1]}=VALUE."
    if "You must specify 'experiment'" in message:
        return _explain_missing_experiment(arguments)
    taken = re.search(r"An item is already at '([\w./@]+)'", message)
    if taken:
        return f"{taken[1]} exists already; set it without the +."
    key = re.search(r"Could not (?:override|append to config|delete)[^']*'([\w./@]+)'", message)
    if key:
        return f"{key[1]} is not a key; {suggest_key(key[1], arguments)}"
    unknown = re.search(r"Key '\w+' not in '\w+'", message)
    place = re.search(r"full_key: ([\w.\[\]]+)", message)
    if unknown and place:
        file = re.search(r"In '([^']+)'", message)
        source = f", which {file[1]}.yaml sets," if file else ""
        return f"{place[1]}{source} is not a key; {suggest_key(place[1], arguments)}"
    return None


def _explain_value(message: str) -> str | None:
    """Message about a value of the wrong type, or about several values without -m."""
    kind = re.search(r"override \+*([^=\n]+)=.*\nValue '(.*)' of type .* to (\w+)", message)
    if kind:
        expected = {"Integer": "a whole number", "Float": "a number"}.get(kind[3], kind[3])
        span = f" from 0 to {HIGHEST_SEED}" if kind[1] == "seed" else ""
        return f"{kind[1]} is {kind[2] or 'empty'}, but must be {expected}{span}."
    sweep = re.search(r"(?:Ambiguous value|Sweep).*?argument '?([^'\n]+?)'?$", message, re.M)
    if sweep:
        return (
            f"{sweep[1]} gives several values. Add -m to run each of them, or write a list as "
            "[a,b] and a text with a comma in quotes: \"KEY='a,b'\"."
        )
    return None


def _explain_syntax(override: str, message: str) -> str:
    reason = message.removeprefix(f"Error parsing override '{override}'\n")
    reason = reason.splitlines()[0].partition(" expecting ")[0]
    return (
        f"{override} cannot be parsed: {reason}. Write lists as [a,b] and mappings as {{a: b}}. "
        "Quote other values with brackets, commas or = twice, for the shell and for Hydra: "
        "\"KEY='VALUE'\"."
    )


def _shorten(message: str) -> str:
    """Hydra's message without the lines that name its internal classes."""
    internal = re.compile(r"\s*(full_key|\w+_type)[:=]|.*hydra\.cc")
    lines = [line for line in message.splitlines() if not internal.match(line)]
    key = re.search(r"full_key: ([\w.\[\]]+)", message)
    lead = f"{key[1]}: " if key and key[1] not in lines[0] else ""
    return lead + "\n".join(lines)


def _check_option(option: str, following: str) -> None:
    """Check an option; `following` is the argument after it."""
    name, equals, value = option.partition("=")
    if name == "--experimental-rerun":
        raise InputError(
            "--experimental-rerun unpickles a file, which may run any code. Give the arguments of "
            "the run again; they are in hydra/overrides.yaml of its folder."
        )
    given = value if equals else following
    if name in WITH_VALUE and (not given or (not equals and given.startswith("-"))):
        raise InputError(f"{option} needs a value: {name} VALUE.")
    if name in ("--cfg", "-c") and given not in CFG:
        raise InputError(f"{name} is {given}, but must be one of {', '.join(CFG)}.")
    if name in WITH_VALUE or name in FLAGS or re.match(r"-c[dpn].|-c(job|hydra|all)$", option):
        if equals and name in FLAGS and name not in ("--info", "-i"):
            raise InputError(f"{option} gives {name} a value, but it takes none; write {name}.")
        return
    meant = _key_of_option(name, value, following)
    if meant:
        raise InputError(
            f"{option} is not an option. Keys are given without dashes, as KEY=VALUE: {meant}"
        )
    known = [one for one in (*FLAGS, *WITH_VALUE) if one.startswith("--")]
    raise InputError(f"{option} is not an option; {did_you_mean(option, known)}")


def _key_of_option(name: str, value: str, following: str) -> str:
    """The override that is meant by an option such as --seed; empty if none is similar.

    Args:
        name: name of the option, with its dashes.
        value: after `=`; empty if there is none.
        following: the next argument.
    """
    key, groups = name.lstrip("-"), group_names()
    is_value = following and "=" not in following and not following.startswith("-")
    shown = value or (following if is_value else "VALUE")
    near = closest(key, [*groups, *SYNONYMS]) if len(key) > 1 else None
    if near in groups and near != key.lower() and key in SYNONYMS:
        near = None
    if near in groups:
        return f"{near}={shown}"
    if "." in key or key in known_keys([]):
        return f"{key}={shown}"
    return suggest_key(key, []) if key in SYNONYMS or value else ""


def _check_blanks(overrides: Sequence[str]) -> None:
    """Reject blanks around =, where the shell splits an override."""
    neighbours = zip(["", *overrides], overrides, [*overrides[1:], ""], strict=False)
    groups = group_names()
    for before, argument, after in neighbours:
        if argument in groups and re.fullmatch(r"[\w.-]+", after):
            raise InputError(
                f"{argument} {after}: a key and its value are joined by =; write {argument}={after}"
            )
        if argument == "=" or (argument.startswith("=") and before and "=" not in before):
            value = after if argument == "=" else argument[1:]
            split = f"{before} {argument} {after if argument == '=' else ''}".strip()
            raise InputError(
                f"{split}: there must be no blank next to =; write "
                f"{before or 'KEY'}={value or 'VALUE'}"
            )
        if argument.endswith("=") and after and "=" not in after:
            raise InputError(
                f"{argument} {after}: there must be no blank next to =; write {argument}{after}"
            )


def _check_override(override: str) -> None:
    match = OVERRIDE.fullmatch(override)
    if match is None:
        if re.fullmatch(r"~[\w.@/]+", override):
            return  # deletes a key
        raise InputError(f"{override} is not of the form KEY=VALUE; {suggest_argument(override)}")
    key, value = match[1].lstrip("+~"), match[2]
    if not key:
        raise InputError(f"{override} has no key before the =; {suggest_argument(value)}")
    if value.startswith("="):
        raise InputError(f"{override} has = twice; write {match[1]}={value.lstrip('= ')}")
    several = re.fullmatch(r"([^\s,\[{'\"]+)\s+([\w.+~]+=.*)", value, re.DOTALL)
    if several and not exists(value):
        raise InputError(
            f"{override} holds several overrides in one argument; give {match[1]}={several[1]} and "
            f"{several[2]} as two arguments, without quotes around both."
        )
    if re.search(r"\s", key):
        joined = re.sub(r"\s+", "", key)
        raise InputError(
            f"{override}: a key has no blanks; write {joined}={value.strip()}, and put a blank "
            "outside of quotes between two overrides."
        )
    if key in group_names():
        bare = re.sub(r"\.ya?ml$", "", value)
        if bare != value:
            raise InputError(
                f"{override}: give an option without folder and suffix: {key}="
                f"{bare.rpartition('/')[2]}"
            )
        if value.strip() in ("", "null"):
            raise InputError(f"{override} names no option of {key}; --help lists its options.")


def _explain_missing_experiment(arguments: Sequence[str]) -> str:
    """The error that hides the experiment; otherwise the list of experiments."""
    known: list[str] = []
    for argument in arguments:
        match = OVERRIDE.fullmatch(argument)
        if match is None or argument.startswith("-"):
            continue
        known = known or known_keys(arguments)
        key = match[1].lstrip("+~")
        if key not in known and not key.startswith("hydra"):
            return f"{key} is not a key; {suggest_key(key, arguments)}"
    folders = user_config_dirs(arguments)
    groups = {group: options(group, *folders) for group in group_names()}
    for argument in arguments:
        key, _, name = argument.partition("=")
        if key in groups and re.fullmatch(r"[\w.-]+", name) and name not in groups[key]:
            return explain_option(key, name, arguments)
    listed = "\n".join(f"  experiment={name}" for name in groups["experiment"])
    return f"Choose an experiment (--help describes them):\n{listed}"
