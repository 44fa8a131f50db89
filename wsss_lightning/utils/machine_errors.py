"""Failures of the machine: out of memory, a full disk, a process that was killed."""

import errno
import re
from collections.abc import Iterator, Sequence

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ACCESS = (errno.EROFS, errno.EACCES, errno.EPERM)
OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|Cannot allocate memory|alloc_cpu", re.I
)
WORKER_KILLED = re.compile(
    r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) (is killed|exited)|BrokenProcessPool"
)
ERROR_NUMBER = re.compile(r"\[Errno (\d+)\]")
RESUMES = "Run the same command to resume with this stage."


def explain_machine_error(
    error: BaseException,
    stage: str = "",
    memory_keys: Sequence[str] = ("workers",),
    folder: str = "for all runs: output_dir=DIR",
) -> str | None:
    """Message for an error that the machine caused; None for any other error.

    Args:
        error: exception, whose causes are examined too.
        stage: name of the stage that failed, such as `round_1/segmentation`.
        memory_keys: keys or options to lower when the stage runs out of memory.
        folder: end of the advice to choose another folder.
    """
    where = f"{stage}: " if stage else ""
    keys = " or ".join(memory_keys)
    names_workers = bool({"workers", "--workers"} & set(memory_keys))
    for cause in _chain(error):
        text = f"{type(cause).__name__}: {cause}"
        number = _error_number(cause)
        if _is_out_of_memory(cause, text, number):
            fewer = "" if names_workers else "; a lower workers= helps too"
            return f"{where}out of memory. Lower {keys}{fewer}. ({_last_line(cause)})"
        if number in DISK_FULL:
            return f"{where}the disk is full ({_last_line(cause)}). Free some space. {RESUMES}"
        if number in NO_ACCESS:
            return (
                f"{where}{_last_line(cause)}. Change its permissions, or choose another folder "
                f"{folder}."
            )
        if WORKER_KILLED.search(text):
            lower = keys if names_workers else f"workers or {keys}"
            return (
                f"{where}a worker process was killed, probably because memory ran out. If so, "
                f"lower {lower}. {RESUMES} ({_last_line(cause)})"
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        visited.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _error_number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = ERROR_NUMBER.search(str(error))  # the message may be a worker's traceback
    return int(match[1]) if match else None


def _is_out_of_memory(error: BaseException, text: str, number: int | None) -> bool:
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and bool(OUT_OF_MEMORY.search(text))


def _last_line(error: BaseException) -> str:
    """The informative line of a message, which may begin with a worker's traceback."""
    if isinstance(error, OSError) and error.strerror:
        file = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{file}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = (line for line in lines if OUT_OF_MEMORY.search(line) or WORKER_KILLED.search(line))
    last = lines[-1] if lines else type(error).__name__
    return next(causes, last)[:300].rstrip(". ")
