"""Jobs of a sweep: kept apart, placed on devices, and told about at the end."""

import json
import os
import secrets
import socket
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from filelock import FileLock, Timeout
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wsss_lightning.errors import InputError

console = Console()
RECORD = "job.json"
SWEEP = "WSSS_SWEEP_ID"  # environment variable of all jobs of one start of a sweep
FAILED = ("failed", "interrupted", "lost")


@final
class Sweeps(Callback):
    """Remembers which sweep this process started, so that its end can be told.

    Set under `hydra.callbacks`; jobs may run in other processes, so what they leave is read from
    their folders.
    """

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Sweeps.folder = Path(config.hydra.sweep.dir).absolute()
        os.environ[SWEEP] = secrets.token_hex(8)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        job_return.__class__ = QuietJobReturn


@final
class QuietJobReturn(JobReturn):
    """Raises the error of a job without the line that Hydra prints before it."""

    @property  # type: ignore[misc]  # the setter is the base class's
    def return_value(self) -> Any:
        if self.status == JobStatus.FAILED:
            raise self._return_value
        return super().return_value


@contextmanager
def recorded(folder: Path, words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Keep in a job's folder what became of it; what is put into the mapping is kept as well.

    The environment is put back behind a job, so that the next one starts from the same.
    """
    from wsss_lightning.utils.files import write_json  # brings PyTorch along

    record: dict[str, Any] = {"state": "running", "words": list(words)}
    record |= {"host": socket.gethostname(), "pid": os.getpid(), "sweep": os.environ.get(SWEEP)}
    begun, environment = time.monotonic(), dict(os.environ)
    write_json(folder / RECORD, record)
    try:
        yield record
        record["state"] = "done"
    except BaseException as error:
        record["state"] = "failed" if isinstance(error, Exception) else "interrupted"
        record["cause"] = str(error).strip() or type(error).__name__
        if not isinstance(error, InputError):
            record["traceback"] = traceback.format_exc()
        raise
    finally:
        os.environ.clear()
        os.environ.update(environment)
        record["seconds"] = round(time.monotonic() - begun, 2)
        write_json(folder / RECORD, record)


def records(folder: Path, sweep: str) -> list[dict[str, Any]]:
    """What became of the jobs of a sweep, in their order."""
    found = []
    for path in sorted(folder.glob(f"*/{RECORD}"), key=lambda p: _number(p.parent.name)):
        record = json.loads(path.read_text())
        if record["sweep"] != sweep:  # of another that used this folder
            continue
        if record["state"] == "running" and not _lives(record):
            record |= {"state": "lost", "cause": "its process ended without a word (killed?)"}
        name = path.parent.name
        found.append({"name": name, "number": _number(name)[0], **record})
    return found


def tell(folder: Path) -> list[dict[str, Any]]:
    """Print a table of the jobs of this process's sweep.

    Returns:
        Those that failed.
    """
    jobs = records(folder, os.environ[SWEEP])
    common = set.intersection(*(set(job["words"]) for job in jobs)) if len(jobs) > 1 else set()
    table = Table(title=f"{len(jobs)} jobs of the sweep", min_width=24)
    for column in ("job", "what", "state", "mIoU", "minutes"):
        table.add_column(column, justify="left" if column in ("what", "state") else "right")
    for job in jobs:
        value, done = job.get("objective"), job["state"] == "done"
        table.add_row(
            str(job["number"]),
            escape(" ".join(word for word in job["words"] if word not in common)),
            f"[red]{job['state']}[/]" if job["state"] in FAILED else job["state"],
            f"{100 * value:.1f}" if value is not None else "not scored" if done else "",
            f"{job.get('seconds', 0) / 60:.1f}",
        )
    console.print(table)
    console.print(f"sweep     {os.path.relpath(folder)}", soft_wrap=True, markup=False)
    return [job for job in jobs if job["state"] in FAILED]


_held: list[FileLock] = []
_numbers: list[int] = []


def take_slot(slots: Sequence[Sequence[int]] | None, accelerator: str) -> list[int] | None:
    """Give this process devices of its own among those of a machine, for as long as it lives.

    Jobs that run beside each other, of one sweep or of several, each take the first group of which
    no device is taken; where none is left they wait. Set before anything uses a GPU.

    Args:
        slots: groups of device numbers: GPUs, or CPU cores where the accelerator is the CPU.
        accelerator: of the trainer.

    Returns:
        The numbers; None where there are no slots.
    """
    if not slots:
        return None
    kind = "core" if accelerator == "cpu" else "gpu"
    if not _held:
        base = Path(tempfile.gettempdir()) / f"wsss_lightning-{os.getuid()}"
        base.mkdir(exist_ok=True)
        waits = False
        while not _held:
            for group in slots:
                taken = _take([FileLock(base / f"{kind}-{i}.lock", timeout=0) for i in group])
                if taken:
                    _held.extend(taken)
                    _numbers.extend(group)
                    break
            else:
                if not waits:
                    console.print(f"[dim]waits for one of the slots {[*map(list, slots)]}[/]")
                waits = True
                time.sleep(0.5)
    if kind == "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, _numbers))
    else:
        os.sched_setaffinity(0, _numbers)
    return list(_numbers)


def _take(locks: list[FileLock]) -> list[FileLock]:
    """All of them, or none."""
    taken: list[FileLock] = []
    try:
        for lock in locks:
            lock.acquire()
            taken.append(lock)
    except Timeout:
        for lock in taken:
            lock.release()
        return []
    return taken


def _number(name: str) -> tuple[int, str]:
    head = name.split("_")[0]
    return (int(head) if head.isdigit() else -1, name)


def _lives(record: dict[str, Any]) -> bool:
    if record["host"] != socket.gethostname():
        return True
    try:
        os.kill(record["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
