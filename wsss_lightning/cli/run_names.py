"""Names of run folders: they need no quotes in a shell or in Hydra's grammar.

A name consists of letters, digits, `.`, `_` and `-`, such as `cam_seed-1_data-voc2012`. Two
different commands never share one: a name that does not say all ends in a digest.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from wsss_lightning.cli.options import expand_user

LONGEST = 120
DIGITS = 8  # of a digest
# environment variables of all jobs of a sweep, wherever they run
SWEEP_NAME = "WSSS_SWEEP"
SWEEP_COMMON = "WSSS_SWEEP_COMMON"  # overrides that are the same in all of its jobs
# overrides that change where a run lies or how it is watched, and no result
ASIDE = (
    "output_dir",
    "logger",
    "workers",
    "checkpoint_minutes",
    "resume",
    "device_groups",
    "hydra",
)
RESERVED = ("stages", "sweep", "doctor")  # other folders below `runs`
KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
# `_` and `-` separate words and values, so a value with both could be read in two ways
VALUE = re.compile(r"[A-Za-z0-9.]+(_[A-Za-z0-9.]+)*|[A-Za-z0-9.]+(-[A-Za-z0-9.]+)*")


def run_name(words: Iterable[str]) -> str:
    """Of a command: the experiment, then all other overrides in alphabetical order."""
    given = {
        key: value for key, value in map(_split, words) if key.lstrip("+~") and not _aside(key)
    }
    experiment = given.pop("experiment", None)
    parts = [] if experiment is None else [_clean(experiment)]
    plain = experiment is not None and parts == [experiment] and KEY.fullmatch(experiment)
    for key, value in sorted(given.items()):
        part = f"{_clean(key)}-{_clean(value)}"
        plain = plain and part == f"{key}-{value}" and KEY.fullmatch(key) and VALUE.fullmatch(value)
        parts.append(part)
    name = "_".join(part for part in parts if part) or "default"
    if plain and len(name) <= LONGEST and name not in RESERVED:
        return name
    return _with_digest(name, [experiment, sorted(given.items())])


def job_name(number: int, words: Sequence[str]) -> str:
    """Of a job of a sweep: its number, then the overrides that other jobs have otherwise."""
    common = set(json.loads(os.environ.get(SWEEP_COMMON, "[]")))
    own = [word for word in words if word not in common and not _split(word)[0].startswith("hydra")]
    parts = [f"{_clean(_last_part(key, own))}-{_clean(value)}" for key, value in map(_split, own)]
    name = "_".join([f"{int(number):04}", *parts])
    return name if len(name) <= LONGEST else _with_digest(name, own)


def announce_sweep(words: Sequence[str]) -> None:
    """Tell all jobs of a sweep, wherever they run, its name and what is common to them."""
    os.environ[SWEEP_NAME] = run_name(words)
    common = [text for text in map(_unswept, words) if text is not None]
    os.environ[SWEEP_COMMON] = json.dumps(common)


def parse(word: str) -> Override | None:
    """An override as Hydra reads it; None where it does not parse."""
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def _unswept(word: str) -> str | None:
    """An override as Hydra's sweepers write it for each job; None for one that differs."""
    override = parse(word)
    if override is None or override.is_sweep_override():
        return None
    if override.is_delete():
        return word
    return f"{override.get_key_element()}={override.get_value_element_as_str()}"


def _split(word: str) -> tuple[str, str]:
    """Key and value, without quotes that the grammar needs."""
    key, _, value = word.partition("=")
    quotes = re.fullmatch(r"(['\"])(.*)\1", value, re.DOTALL)
    return key, quotes[2] if quotes else value


def _aside(key: str) -> bool:
    return re.split(r"[./@]", key.lstrip("+~"))[0] in ASIDE


def _last_part(key: str, words: Sequence[str]) -> str:
    """The end of a key, as long as it takes to tell it from the others."""
    parts = key.split(".")
    others = [other for other, _ in map(_split, words) if other != key]
    for count in range(1, len(parts)):
        end = ".".join(parts[-count:])
        if not any(other == end or other.endswith(f".{end}") for other in others):
            return end
    return key


def _clean(text: str) -> str:
    """Of a path its last part; other letters than those of a name become `-`."""
    listed = text.startswith(("[", "{"))
    last = text if listed else text.rstrip("/").rpartition("/")[2] or text
    return re.sub(r"[^A-Za-z0-9._]+", "-", last).strip("-._") or "x"


def _with_digest(name: str, content: object) -> str:
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:DIGITS]
    return f"{name[: LONGEST - DIGITS - 1].rstrip('-._')}_{digest}"


OmegaConf.register_new_resolver("run_name", run_name, replace=True)
OmegaConf.register_new_resolver("job_name", job_name, replace=True)
OmegaConf.register_new_resolver("home", lambda path: expand_user(str(path)), replace=True)
