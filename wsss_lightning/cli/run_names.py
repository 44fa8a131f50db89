"""Names of run folders, such as `cam_seed-1_data-voc2012`.

Names consist of letters, digits, `.`, `_` and `-`, so that they need no quotes in a shell or for
Hydra. Two different commands never share a name: where overrides are shortened, the name ends in a
digest of all of them.
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

MAX_LENGTH = 120
DIGITS = 8  # number of digits of a digest
# environment variables that describe a sweep to its jobs, on any machine
SWEEP_NAME = "WSSS_SWEEP"
SWEEP_COMMON = "WSSS_SWEEP_COMMON"  # overrides that all of its jobs share
# overrides that change where a run is stored or how it is displayed, but no result
UNNAMED = (
    "output_dir",
    "logger",
    "workers",
    "checkpoint_minutes",
    "resume",
    "save_models",
    "device_groups",
    "hydra",
)
RESERVED = ("stages", "sweep", "check_data")  # other folders below `output_dir`
KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
# `_` and `-` separate keys and values, so a value with both would be ambiguous
VALUE = re.compile(r"[A-Za-z0-9.]+(_[A-Za-z0-9.]+)*|[A-Za-z0-9.]+(-[A-Za-z0-9.]+)*")


def run_name(overrides: Iterable[str]) -> str:
    """Name of a command: the experiment, then all other overrides in alphabetical order."""
    given = {
        key: value
        for key, value in map(_split, overrides)
        if key.lstrip("+~") and not _is_unnamed(key)
    }
    experiment = given.pop("experiment", None)
    parts = [] if experiment is None else [_clean(experiment)]
    is_exact = experiment is not None and parts == [experiment] and KEY.fullmatch(experiment)
    for key, value in sorted(given.items()):
        part = f"{_clean(key)}-{_clean(value)}"
        unchanged = part == f"{key}-{value}"
        is_exact = is_exact and unchanged and KEY.fullmatch(key) and VALUE.fullmatch(value)
        parts.append(part)
    name = "_".join(part for part in parts if part) or "default"
    if is_exact and len(name) <= MAX_LENGTH and name not in RESERVED:
        return name
    return _with_digest(name, [experiment, sorted(given.items())])


def job_name(number: int, overrides: Sequence[str]) -> str:
    """Name of a job of a sweep: its number, then the overrides that differ between jobs."""
    common = set(json.loads(os.environ.get(SWEEP_COMMON, "[]")))
    own = [o for o in overrides if o not in common and not _split(o)[0].startswith("hydra")]
    parts = [f"{_clean(_last_part(key, own))}-{_clean(value)}" for key, value in map(_split, own)]
    name = "_".join([f"{int(number):04}", *parts])
    return name if len(name) <= MAX_LENGTH else _with_digest(name, own)


def announce_sweep(overrides: Sequence[str]) -> None:
    """Put a sweep's name and common overrides into the environment, which its jobs inherit."""
    os.environ[SWEEP_NAME] = run_name(overrides)
    common = [text for text in map(_unswept, overrides) if text is not None]
    os.environ[SWEEP_COMMON] = json.dumps(common)


def parse(override: str) -> Override | None:
    """An override as Hydra reads it; None if it cannot be parsed."""
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _unswept(text: str) -> str | None:
    """An override as Hydra's sweepers write it for each job; None if it differs between jobs."""
    override = parse(text)
    if override is None or override.is_sweep_override():
        return None
    if override.is_delete():
        return text
    return f"{override.get_key_element()}={override.get_value_element_as_str()}"


def _split(override: str) -> tuple[str, str]:
    """Key and value, without Hydra's quotes."""
    key, _, value = override.partition("=")
    quotes = re.fullmatch(r"(['\"])(.*)\1", value, re.DOTALL)
    return key, quotes[2] if quotes else value


def _is_unnamed(key: str) -> bool:
    return re.split(r"[./@]", key.lstrip("+~"))[0] in UNNAMED


def _last_part(key: str, overrides: Sequence[str]) -> str:
    """The shortest end of a key that no other key has."""
    parts = key.split(".")
    others = [other for other, _ in map(_split, overrides) if other != key]
    for count in range(1, len(parts)):
        end = ".".join(parts[-count:])
        if not any(other == end or other.endswith(f".{end}") for other in others):
            return end
    return key


def _clean(text: str) -> str:
    """Last part of a path; characters that a name may not have become `-`."""
    is_nested = text.startswith(("[", "{"))
    last = text if is_nested else text.rstrip("/").rpartition("/")[2] or text
    return re.sub(r"[^A-Za-z0-9._]+", "-", last).strip("-._") or "x"


def _with_digest(name: str, content: object) -> str:
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:DIGITS]
    return f"{name[: MAX_LENGTH - DIGITS - 1].rstrip('-._')}_{digest}"


OmegaConf.register_new_resolver("run_name", run_name, replace=True)
OmegaConf.register_new_resolver("job_name", job_name, replace=True)
OmegaConf.register_new_resolver("home", lambda path: expand_user(str(path)), replace=True)
