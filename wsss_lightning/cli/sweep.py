"""Jobs of a sweep: their records and their devices."""

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
from rich.markup import escape
from rich.table import Table

from wsss_lightning.cli.error_messages import explain_error, input_error_of
from wsss_lightning.utils.console import console, print_plain
from wsss_lightning.utils.files import write_json

RECORD = "job.json"
SWEEP = "WSSS_SWEEP_ID"  # environment variable shared by all jobs of a sweep
FAILED = ("failed", "interrupted", "lost")


@final
class Sweeps(Callback):
    """Stores the folder of the sweep that this process started.

    Set under `hydra.callbacks`. Jobs may run in other processes, so their records are read from
    their folders when the sweep ends.
    """

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Sweeps.folder = Path(config.hydra.sweep.dir).absolute()
        os.environ[SWEEP] = secrets.token_hex(8)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        job_return.__class__ = QuietJobReturn


@final
class QuietJobReturn(JobReturn):
    """Raises a job's error without the line that Hydra prints before it."""

    @property  # type: ignore[misc]  # the base class has the setter
    def return_value(self) -> Any:
        if self.status == JobStatus.FAILED:
            raise self._return_value
        return super().return_value


@contextmanager
def recorded(folder: Path, overrides: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Keep a record of a job in its folder; entries added to the yielded mapping are kept too.

    The environment is restored after a job, so that the next job starts from the same one.

    Args:
        folder: folder of the job.
        overrides: overrides of the job.
    """
    record: dict[str, Any] = {"state": "running", "overrides": list(overrides)}
    record |= {"host": socket.gethostname(), "pid": os.getpid(), "sweep": os.environ.get(SWEEP)}
    start, environment = time.monotonic(), dict(os.environ)
    write_json(folder / RECORD, record)
    try:
        yield record
        record["state"] = "done"
    except BaseException as error:
        record["state"] = "failed" if isinstance(error, Exception) else "interrupted"
        cause = input_error_of(error)
        message = str(error) if cause is None else explain_error(cause, overrides)
        record["cause"] = message.strip() or type(error).__name__
        if cause is None:
            record["traceback"] = traceback.format_exc()
        raise
    finally:
        os.environ.clear()
        os.environ.update(environment)
        record["seconds"] = round(time.monotonic() - start, 2)
        write_json(folder / RECORD, record)


def records(folder: Path, sweep: str) -> list[dict[str, Any]]:
    """Records of the jobs of a sweep, in their order.

    Args:
        folder: folder of the sweep.
        sweep: id; records of other sweeps in the same folder are left out.
    """
    jobs = []
    for path in sorted(folder.glob(f"*/{RECORD}"), key=lambda p: _number(p.parent.name)):
        record = json.loads(path.read_text())
        if record["sweep"] != sweep:
            continue
        if record["state"] == "running" and not _is_running(record):
            record |= {
                "state": "lost",
                "cause": "its process ended without a message and was probably killed",
            }
        name = path.parent.name
        jobs.append({"name": name, "number": _number(name)[0], **record})
    return jobs


def print_jobs(folder: Path) -> list[dict[str, Any]]:
    """Print a table of the jobs of this process's sweep.

    Args:
        folder: folder of the sweep.

    Returns:
        Records of the jobs.
    """
    jobs = records(folder, os.environ[SWEEP])
    overrides = [set(job["overrides"]) for job in jobs]
    common = set.intersection(*overrides) if len(jobs) > 1 else set()
    table = Table(title=f"{len(jobs)} jobs of the sweep", min_width=24)
    for column in ("job", "overrides", "state", "mIoU", "minutes"):
        table.add_column(column, justify="left" if column in ("overrides", "state") else "right")
    for job in jobs:
        value, done = job.get("objective"), job["state"] == "done"
        table.add_row(
            str(job["number"]),
            escape(" ".join(one for one in job["overrides"] if one not in common)),
            f"[red]{job['state']}[/]" if job["state"] in FAILED else job["state"],
            f"{100 * value:.1f}" if value is not None else "not scored" if done else "",
            f"{job.get('seconds', 0) / 60:.1f}",
        )
    console.print(table)
    print_plain(f"sweep     {os.path.relpath(folder)}")
    return jobs


_locks: list[FileLock] = []
_devices: list[int] = []


def claim_devices(groups: Sequence[Sequence[int]] | None, accelerator: str) -> list[int] | None:
    """Reserve a group of devices for this process, until it ends.

    Concurrent jobs, of one sweep or of several, each claim the first group whose devices are all
    free, and wait if there is none. Call this before anything uses a GPU.

    Args:
        groups: device numbers of each group: GPUs, or CPU cores if the accelerator is the CPU.
        accelerator: accelerator of the trainer.

    Returns:
        Device numbers; None if there are no groups.
    """
    if not groups:
        return None
    kind = "core" if accelerator == "cpu" else "gpu"
    if not _locks:
        base = Path(tempfile.gettempdir()) / f"wsss_lightning-{os.getuid()}"
        base.mkdir(exist_ok=True)
        is_waiting = False
        while not _locks:
            for group in groups:
                locks = _acquire([FileLock(base / f"{kind}-{i}.lock", timeout=0) for i in group])
                if locks:
                    _locks.extend(locks)
                    _devices.extend(group)
                    break
            else:
                if not is_waiting:
                    print_plain(f"waiting for a free device group {[*map(list, groups)]}", "dim")
                is_waiting = True
                time.sleep(0.5)
    if kind == "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, _devices))
    else:
        os.sched_setaffinity(0, _devices)
    return list(_devices)


def _acquire(locks: list[FileLock]) -> list[FileLock]:
    """Acquire all locks or none; an empty list if one of them is held by another process."""
    acquired: list[FileLock] = []
    try:
        for lock in locks:
            lock.acquire()
            acquired.append(lock)
    except Timeout:
        for lock in acquired:
            lock.release()
        return []
    return acquired


def _number(name: str) -> tuple[int, str]:
    """Sort key of a job's folder: its number, then its name."""
    head = name.split("_")[0]
    return (int(head) if head.isdigit() else -1, name)


def _is_running(record: dict[str, Any]) -> bool:
    """Whether the process of a job exists; on other machines it is assumed to exist."""
    if record["host"] != socket.gethostname():
        return True
    try:
        os.kill(record["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
