"""What a machine does to a run: no memory left, a full disk, a process that is ended."""

import errno
import re
from collections.abc import Iterator, Sequence

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
MEMORY = re.compile(r"out of memory|can't allocate memory|Cannot allocate memory|alloc_cpu", re.I)
ENDED = re.compile(
    r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) (is killed|exited)|BrokenProcessPool"
)
NUMBER = re.compile(r"\[Errno (\d+)\]")
GOES_ON = "The same command goes on with this stage."


def told(
    error: BaseException, stage: str = "", memory_keys: Sequence[str] = ("workers",)
) -> str | None:
    """What a user can mend of an error that the machine caused; None where it did not.

    Args:
        stage: that met it, such as `round_1/segmentation`.
        memory_keys: configuration keys that bound the memory of the stage.
    """
    where = f"{stage}: " if stage else ""
    keys = " or ".join(memory_keys)
    for cause in _chain(error):
        text = f"{type(cause).__name__}: {cause}"
        number = _number(cause)
        if _is_memory(cause, text, number):
            return (
                f"{where}out of memory. Set {keys} lower; fewer workers= need less "
                f"as well. ({_line(cause)})"
            )
        if number in FULL:
            return f"{where}the disk is full ({_line(cause)}). Free some space. {GOES_ON}"
        if number in CLOSED:
            return (
                f"{where}{_line(cause)}. Make it readable and writable for you, or name another "
                "folder for all runs, as in output_dir=DIR."
            )
        if ENDED.search(text):
            return (
                f"{where}a worker process was ended from outside; for lack of memory? Then set "
                f"workers= or {keys} lower. {GOES_ON} ({_line(cause)})"
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = NUMBER.search(str(error))  # of another process, whose traceback is the message
    return int(found[1]) if found else None


def _is_memory(error: BaseException, text: str, number: int | None) -> bool:
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and bool(MEMORY.search(text))


def _line(error: BaseException) -> str:
    """The last line of a message, which may lead with the traceback of another process."""
    if isinstance(error, OSError) and error.strerror:
        named = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{named}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if MEMORY.search(line) or ENDED.search(line)), None)
    return (said or (lines[-1] if lines else type(error).__name__))[:300].rstrip(". ")
