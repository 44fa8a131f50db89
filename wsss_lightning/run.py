"""Each step once: a stage's result lies in a folder named by what went into it."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from filelock import FileLock
from omegaconf import OmegaConf

from wsss_lightning.callbacks.progress import console

# they choose and show work, but do none of it
NOT_WORK = (
    "cli.py",
    "__main__.py",
    "sweep.py",
    "pipelines.py",
    "refiners.py",
    "config.py",
    "config_files.py",
    "doctor.py",
    "errors.py",
)


@dataclass
class Run:
    """Where one run's results lie, and how its steps are found again.

    Args:
        folder: of this run; holds links to the folders of its stages.
        store: of all runs; holds the folders of finished stages.
        seed: of every stage's random numbers.
        salt: digest of the data set's files, part of each stage's name.
    """

    folder: Path
    store: Path
    seed: int
    salt: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def stage(self, name: str, work: Callable[..., None], **inputs: Any) -> Path:
        """Do `work(folder, **inputs)`, or find the folder where it was done already.

        Work goes on in `<folder>.partial`, under a lock, and is renamed when done; work that was
        interrupted finds what it left there. Every stage starts from the same random state, so it
        does not matter which stages before it were found and which were done.

        Args:
            name: of the step in this run, such as `seeds/train`; becomes a link in its folder.
            work: a function of the folder to write below and of `inputs`.
            inputs: configuration, plain values, or folders of earlier stages.

        Returns:
            The folder of the finished stage.
        """
        final = self.store / f"{work.__name__}-{self._key(work, inputs)}"
        final.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{final}.lock"):
            found = final.is_dir()
            if not found:
                self._do(name, work, inputs, final)
        seconds = json.loads((final / "stage.json").read_text())["seconds"]
        self.seconds[name] = seconds
        note = "found" if found else "done"
        console.print(f"[bold]{name:<20}[/] {note} [dim]{seconds:8.1f} s[/]")
        self._link(name, final)
        return final

    def _do(
        self, name: str, work: Callable[..., None], inputs: dict[str, Any], final: Path
    ) -> None:
        partial = final.with_name(f"{final.name}.partial")
        partial.mkdir(exist_ok=True)
        pl.seed_everything(self.seed, workers=True, verbose=False)
        begun = time.monotonic()
        work(partial, **inputs)
        record = {
            "stage": name,
            "work": work.__name__,
            "seed": self.seed,
            "seconds": round(time.monotonic() - begun, 2),
            "code": code_version(),
            "inputs": {key: _plain(value) for key, value in inputs.items()},
        }
        write_json(partial / "stage.json", record)
        partial.rename(final)

    def _key(self, work: Callable[..., None], inputs: dict[str, Any]) -> str:
        what = {
            "work": work.__name__,
            "inputs": {key: _plain(value) for key, value in sorted(inputs.items())},
            "seed": self.seed,
            "salt": self.salt,
            "code": code_version(),
        }
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]

    def _link(self, name: str, final: Path) -> None:
        link = self.folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        # replaced in one step: another process may do the same
        temporary = link.with_name(f".{link.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(final, link.parent), target_is_directory=True)
        temporary.replace(link)


@cache
def code_version() -> str:
    """Digest of the package's source, but for what chooses and shows work."""
    return source_digest(NOT_WORK)


@cache
def source_digest(without: tuple[str, ...] = ()) -> str:
    """Digest of the package's source, but for files of these names."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.cpp")]):
        if path.name not in without:
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def write_json(path: Path, content: Any) -> None:
    """Write whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
