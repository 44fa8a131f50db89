"""Each step once: a stage's result lies in a folder named by what went into it."""

import contextlib
import hashlib
import inspect
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from filelock import FileLock
from omegaconf import OmegaConf
from rich.markup import escape

from wsss_lightning.cache import manifest
from wsss_lightning.cache.code_digest import CodeGraph, targets_in
from wsss_lightning.cache.manifest import MANIFEST, RECORD
from wsss_lightning.cache.step import memory_keys as keys_of
from wsss_lightning.data.file_facts import digests_of
from wsss_lightning.errors import InputError
from wsss_lightning.utils import interrupts
from wsss_lightning.utils.console import console
from wsss_lightning.utils.files import sync_folder, write_json
from wsss_lightning.utils.machine_errors import explain_machine_error
from wsss_lightning.utils.text import shorten

ALARMS = "alarms.json"  # file of a step: warnings shown whenever its result is used
WEIGHTS = "weights"  # name of every key that gives a file of weights
LEFTOVER = re.compile(r"\..+\.\d+")  # of a write that was killed

# name of the stage that is being done, for those who watch it; no part of its result
current_stage: ContextVar[str] = ContextVar("current_stage")


@dataclass
class StageCache:
    """Where one run's results lie, and how its steps are found again.

    Args:
        folder: of this run; holds links to the folders of its stages.
        store: of all runs; holds the folders of finished stages.
        seed: of every stage's random numbers.
        data_digest: digest of the data set's files, part of each stage's name.
        session: name of this start of the command, where it shall take nothing that was done before;
            None: finished stages are taken, and unfinished ones go on.
    """

    folder: Path
    store: Path
    seed: int
    data_digest: str = ""
    session: str | None = None
    runtime: Any = None
    code: CodeGraph = field(default_factory=CodeGraph)
    seconds: dict[str, float] = field(default_factory=dict)
    seen: set[Path] = field(default_factory=set)

    def run(
        self,
        name: str,
        work: Callable[..., None],
        *,
        memory_keys: tuple[str, ...] | None = None,
        **inputs: Any,
    ) -> Path:
        """Do `work(folder, **inputs)`, or find the folder where it was done already.

        Work goes on in `<folder>.partial`, under a lock, and is renamed when done, with a manifest
        of its files; work that was interrupted finds what it left there. What is found is held
        against its manifest, and against the contents of the stages it was made of. Every stage
        starts from the same random state, so it does not matter which stages before it were found
        and which were done.

        Args:
            name: of the step in this run, such as `seeds/train`; becomes a link in its folder.
            work: a function of the folder to write below and of `inputs`.
            memory_keys: configuration keys that bound the memory of the step, in place of those
                that it declares.
            inputs: configuration, plain values, or folders of earlier stages.

        Returns:
            The folder of the finished stage.

        Raises:
            InputError: memory or the disk did not suffice, or a process was ended.
        """
        final = self.store / f"{work.__name__}-{self._key(work, inputs)}"
        final.parent.mkdir(parents=True, exist_ok=True)
        made_of = {path.name: _content(path) for path in _stages_in(inputs)}
        with FileLock(f"{final}.lock"):
            found = self._usable(name, final, made_of)
            if not found:
                try:
                    self._do(name, work, inputs, made_of, final)
                except InputError:
                    raise
                except Exception as error:
                    told = explain_machine_error(error, name, memory_keys or keys_of(work))
                    if told is None:
                        raise
                    raise InputError(told) from error
            self._link(name, final)
        record = json.loads((final / RECORD).read_text())
        self.seconds[name] = seconds = record["seconds"]
        note = "found" if found else "done"
        console.print(f"[bold]{escape(f'{name:<20}')}[/] {note} [dim]{seconds:8.1f} s[/]")
        for alarm in record["alarms"] if final not in self.seen else ():
            _warn(f"{name}: {alarm}")
        self.seen.add(final)
        return final

    def _usable(self, name: str, final: Path, made_of: Mapping[str, str]) -> bool:
        """Whether a finished stage can be taken; where files are damaged, the rest goes on."""
        partial = _partial(final)
        if not final.is_dir():
            if self.session is not None:
                shutil.rmtree(partial, ignore_errors=True)
            return False
        shutil.rmtree(partial, ignore_errors=True)  # of a start that did it anew and was stopped
        record, listed = _read(final)
        if record is None or listed is None:
            _warn(f"{name}: {final.name} has no readable record; it is done again.")
        elif self.session is not None and record.get("session") != self.session:
            pass
        elif record["made_of"] != made_of:
            changed = [n for n, content in made_of.items() if record["made_of"].get(n) != content]
            _warn(f"{name}: {shorten(changed)} changed since it was done; it is done again.")
        else:
            bad, touched = manifest.wrong(final, listed)
            if not bad:
                if touched:
                    with contextlib.suppress(OSError):  # of others, and closed to us
                        write_json(final / MANIFEST, manifest.refreshed(final, listed))
                return True
            told = [f"{file} ({what})" for file, what in bad.items()]
            _warn(
                f"{name}: damaged in {final.name}: {shorten(told)}; what they hold is made again."
            )
            _take_out(final, bad)
            final.rename(partial)
        return False

    def _do(
        self,
        name: str,
        work: Callable[..., None],
        inputs: dict[str, Any],
        made_of: Mapping[str, str],
        final: Path,
    ) -> None:
        partial = _partial(final)
        partial.mkdir(exist_ok=True)
        for path in partial.rglob(".*"):
            if LEFTOVER.fullmatch(path.name) and path.is_file():
                path.unlink()
        pl.seed_everything(self.seed, workers=True, verbose=False)
        begun = time.monotonic()
        token = current_stage.set(name)
        try:
            with interrupts.watched():
                work(partial, **inputs, **self._runtime_for(work))
        finally:
            current_stage.reset(token)
        seconds = round(time.monotonic() - begun, 2)
        listed = manifest.take(partial)
        alarms = partial / ALARMS
        record = {
            "stage": name,
            "work": work.__name__,
            "seed": self.seed,
            "seconds": seconds,
            "code": self.code.digest(work, targets_in(inputs)),
            "inputs": {key: _plain(value) for key, value in inputs.items()},
            "made_of": made_of,
            "content": manifest.content(listed),
            "alarms": json.loads(alarms.read_text()) if alarms.is_file() else [],
            "session": self.session,
        }
        write_json(partial / MANIFEST, listed)
        write_json(partial / RECORD, record)
        _publish(partial, final)

    def _runtime_for(self, work: Callable[..., None]) -> dict[str, Any]:
        """The runtime, for steps that take it."""
        takes = "runtime" in inspect.signature(work).parameters
        return {"runtime": self.runtime} if takes else {}

    def _key(self, work: Callable[..., None], inputs: dict[str, Any]) -> str:
        what = {
            "work": work.__name__,
            "inputs": {key: by_content(_plain(value)) for key, value in sorted(inputs.items())},
            "seed": self.seed,
            "data_digest": self.data_digest,
            "code": self.code.digest(work, targets_in(inputs)),
        }
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]

    def _link(self, name: str, final: Path) -> None:
        link = self.folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        # another process may do the same, and one that was killed may have left the new link
        with FileLock(self.store / "links.lock"):
            if link.is_dir() and not link.is_symlink():
                shutil.rmtree(link)
            temporary = link.with_name(f".{link.name}.new")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(os.path.relpath(final, link.parent), target_is_directory=True)
            temporary.replace(link)


def _partial(final: Path) -> Path:
    return final.with_name(f"{final.name}.partial")


def _publish(partial: Path, final: Path) -> None:
    """Give a finished folder its name, in the place of one that is there."""
    for folder in (p for p in [partial, *partial.rglob("*")] if p.is_dir() and not p.is_symlink()):
        sync_folder(folder)
    old = final.with_name(f"{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.is_dir():
        final.rename(old)
    partial.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _read(final: Path) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Record and manifest of a finished stage; None where one is damaged."""
    try:
        record, listed = (json.loads((final / name).read_text()) for name in (RECORD, MANIFEST))
        if record["content"] == manifest.content(listed) and {"made_of", "alarms"} <= set(record):
            return record, listed
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None, None


def _take_out(final: Path, bad: Mapping[str, str]) -> None:
    """Remove damaged files and all of the same image, by whose presence work may know it done."""
    damaged = {_bare(Path(name)) for name in bad}
    for path in list(final.rglob("*")):
        if path.is_file() and (
            _bare(path.relative_to(final)) in damaged or path.name in (RECORD, MANIFEST)
        ):
            path.unlink()


def _bare(path: Path) -> Path:
    """Of a file below a stage's folder: the image it belongs to, if any.

    `kept/train/0001.txt`, the reason why an image was left as it was, belongs to `train/0001`.
    """
    parts = path.parts[1:] if path.parts[0] == "kept" and len(path.parts) > 1 else path.parts
    return Path(*parts).with_suffix("")


def _stages_in(value: Any) -> Iterator[Path]:
    """Folders of stages among inputs."""
    if isinstance(value, Path):
        if (value / RECORD).is_file():
            yield value
    elif isinstance(value, Mapping) and not OmegaConf.is_config(value):
        for item in value.values():
            yield from _stages_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _stages_in(item)


def _content(stage: Path) -> str:
    return json.loads((stage / RECORD).read_text())["content"]


def _warn(message: str) -> None:
    # names of files may look like markup
    console.print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)


def by_content(plain: Any) -> Any:
    """Plain configuration with the digest of each file of weights in place of its path.

    So a network is trained again when its file has changed, and not when the file has moved.
    """
    if isinstance(plain, Mapping):
        return {
            key: _weights_digest(item) if key == WEIGHTS else by_content(item)
            for key, item in plain.items()
        }
    if isinstance(plain, list):
        return [by_content(item) for item in plain]
    return plain


def _weights_digest(value: Any) -> Any:
    if not isinstance(value, str) or not Path(value).is_file():
        return value
    stat = Path(value).stat()
    return _digest_once(value, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)


@cache
def _digest_once(path: str, *_: int) -> str:
    """Digest of a file that has this state, read once by each process."""
    return digests_of([Path(path)])[0]


def _plain(value: Any) -> Any:
    """What a value counts as in a stage's name: a folder by its own name, the rest by content."""
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True)
    if isinstance(value, Path):
        return value.name
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
