"""Cache of stages: each is a folder with the result of a step, named by a digest of its inputs."""

import contextlib
import hashlib
import inspect
import json
import os
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
from wsss_lightning.utils.console import console, warn
from wsss_lightning.utils.files import remove_leftovers, sync_folder, write_json
from wsss_lightning.utils.machine_errors import explain_machine_error
from wsss_lightning.utils.text import shorten

ALARMS = "alarms.json"  # file of a stage: warnings printed whenever its result is used
FILES = ("weights", "review")  # names of all keys that hold a file whose content counts

# name of the running stage, for loggers; no part of its key
current_stage: ContextVar[str] = ContextVar("current_stage")


@dataclass
class StageCache:
    """Runs the steps of a pipeline, or takes their results from the cache.

    Args:
        folder: folder of this run, for links to the folders of its stages.
        store: folder of finished stages, shared by all runs.
        seed: seed of the random numbers of every stage.
        data_digest: digest of the data set, part of every key.
        session: only results of this session are taken from the cache; None: all results are,
            and interrupted stages continue.
        runtime: passed to steps that have a parameter `runtime`; no part of any key.
        code: finds the code that a step uses, which is part of its key.
        seconds: duration of each stage of this run.
        printed: folders whose alarms have been printed.
    """

    folder: Path
    store: Path
    seed: int
    data_digest: str = ""
    session: str | None = None
    runtime: Any = None
    code: CodeGraph = field(default_factory=CodeGraph)
    seconds: dict[str, float] = field(default_factory=dict)
    printed: set[Path] = field(default_factory=set)

    def run(
        self,
        name: str,
        work: Callable[..., None],
        *,
        memory_keys: tuple[str, ...] | None = None,
        **inputs: Any,
    ) -> Path:
        """Call `work(folder, **inputs)`, or return the folder of an earlier call.

        `work` writes to `<folder>.partial` under a lock. The folder is renamed when `work` returns,
        with a manifest of its files. An interrupted call is repeated in the same folder, so `work`
        can continue from the files that are left. A cached result is verified: its files by their
        checksums, and the stages that it was computed from by their contents. Every stage starts
        from the same random state, so results do not depend on which stages were cached.

        Args:
            name: name of the stage in this run, such as `seeds/train`, and of the link in its
                folder.
            work: a function of the folder to write to and of `inputs`.
            memory_keys: configuration keys that bound the memory of the step, in place of those
                that it declares.
            inputs: configuration, plain values, or folders of earlier stages.

        Returns:
            The folder of the finished stage.

        Raises:
            InputError: memory or disk space ran out, or a worker process was killed.
        """
        final = self.store / f"{work.__name__}-{self._key(work, inputs)}"
        final.parent.mkdir(parents=True, exist_ok=True)
        made_of = {path.name: _content(path) for path in _stages_in(inputs)}
        with FileLock(f"{final}.lock"):
            cached = self._is_cached(name, final, made_of)
            if not cached:
                try:
                    self._do(name, work, inputs, made_of, final)
                except InputError:
                    raise
                except Exception as error:
                    message = explain_machine_error(error, name, memory_keys or keys_of(work))
                    if message is None:
                        raise
                    raise InputError(message) from error
            self._link(name, final)
        record = json.loads((final / RECORD).read_text())
        self.seconds[name] = seconds = record["seconds"]
        state = "cached" if cached else "done"
        console.print(f"[bold]{escape(f'{name:<24}')}[/] {state:6} [dim]{seconds:8.1f} s[/]")
        for alarm in record["alarms"] if final not in self.printed else ():
            warn(f"{name}: {alarm}")
        self.printed.add(final)
        return final

    def _is_cached(self, name: str, final: Path, made_of: Mapping[str, str]) -> bool:
        """Whether a stage is finished and intact; intact files of a damaged stage are kept."""
        partial = _partial(final)
        if not final.is_dir():
            if self.session is not None:
                shutil.rmtree(partial, ignore_errors=True)
            return False
        shutil.rmtree(partial, ignore_errors=True)  # of an interrupted session that recomputed it
        record, listed = _read(final)
        if record is None or listed is None:
            warn(f"{name}: the record of {final.name} is damaged; the stage is computed again.")
        elif self.session is not None and record.get("session") != self.session:
            pass
        elif record["made_of"] != made_of:
            changed = [n for n, content in made_of.items() if record["made_of"].get(n) != content]
            warn(f"{name}: its inputs changed ({shorten(changed)}); the stage is computed again.")
        else:
            damaged, touched = manifest.find_changes(final, listed)
            if not damaged:
                if touched:
                    with contextlib.suppress(OSError):  # read-only for this user
                        write_json(final / MANIFEST, manifest.update_times(final, listed))
                return True
            files = [f"{file} ({change})" for file, change in damaged.items()]
            warn(
                f"{name}: damaged files in {final.name}: {shorten(files)}; they are computed again."
            )
            _remove_damaged(final, damaged)
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
        remove_leftovers(partial)
        pl.seed_everything(self.seed, workers=True, verbose=False)
        start = time.monotonic()
        token = current_stage.set(name)
        try:
            with interrupts.watched():
                work(partial, **inputs, **self._runtime_for(work))
        finally:
            current_stage.reset(token)
        seconds = round(time.monotonic() - start, 2)
        listed = manifest.build(partial)
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
        has_parameter = "runtime" in inspect.signature(work).parameters
        return {"runtime": self.runtime} if has_parameter else {}

    def _key(self, work: Callable[..., None], inputs: dict[str, Any]) -> str:
        content = {
            "work": work.__name__,
            "inputs": {key: by_content(_plain(value)) for key, value in sorted(inputs.items())},
            "seed": self.seed,
            "data_digest": self.data_digest,
            "code": self.code.digest(work, targets_in(inputs)),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def _link(self, name: str, final: Path) -> None:
        link = self.folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        # another process may do the same, and a killed one may have left a temporary link
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
    """Rename a finished folder, replacing an earlier one."""
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
    """Record and manifest of a finished stage; None if one of them is damaged."""
    try:
        record, listed = (json.loads((final / name).read_text()) for name in (RECORD, MANIFEST))
        if record["content"] == manifest.content(listed) and {"made_of", "alarms"} <= set(record):
            return record, listed
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None, None


def _remove_damaged(final: Path, files: Mapping[str, str]) -> None:
    """Remove damaged files, and all files of the same images, so that steps repeat these images."""
    damaged = {_image_of(Path(name)) for name in files}
    for path in list(final.rglob("*")):
        if path.is_file() and (
            _image_of(path.relative_to(final)) in damaged or path.name in (RECORD, MANIFEST)
        ):
            path.unlink()


def _image_of(path: Path) -> Path:
    """The image that a file of a stage belongs to, if any.

    `kept/train/0001.txt` holds the reason why the scores of `train/0001` were kept.
    """
    parts = path.parts[1:] if path.parts[0] == "kept" and len(path.parts) > 1 else path.parts
    return Path(*parts).with_suffix("")


def _stages_in(value: Any) -> Iterator[Path]:
    """Folders of stages among the inputs."""
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


def by_content(plain: Any) -> Any:
    """Replace the path of each file of weights or decisions by a digest of its content.

    A network is trained again if its weights file changed, but not if the file was moved.
    """
    if isinstance(plain, Mapping):
        return {
            key: _file_digest(item) if key in FILES else by_content(item)
            for key, item in plain.items()
        }
    if isinstance(plain, list):
        return [by_content(item) for item in plain]
    return plain


def _file_digest(value: Any) -> Any:
    if not isinstance(value, str) or not Path(value).is_file():
        return value
    stat = Path(value).stat()
    return _digest_once(value, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)


@cache
def _digest_once(path: str, *_: int) -> str:
    """Digest of a file in its present state, computed once per process."""
    return digests_of([Path(path)])[0]


def _plain(value: Any) -> Any:
    """A value as part of the key: folders by their name, everything else by its content."""
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True)
    if isinstance(value, Path):
        return value.name
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
