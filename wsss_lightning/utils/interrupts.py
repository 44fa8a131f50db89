"""Ctrl-C: one message and exit code 130, whatever a run is doing.

An interrupt raises `Interrupted` in the main thread. It is no `KeyboardInterrupt`, since Lightning
turns one into exit code 1 and ignores further ones. Libraries may swallow it, or raise another
error while they clean up; `watched` turns whatever follows an interrupt into `Interrupted`. Files
are written whole and finished stages stay, so a run may end at any moment: a second interrupt, or
the time `GRACE`, ends the process without waiting.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

EXIT_CODE = 128 + signal.SIGINT  # as shells report it
GRACE = 10.0  # seconds for loggers and processes to end
MESSAGE = "\nInterrupted. The same command continues with the first unfinished stage.\n"

_owner: int | None = None  # the process whose interrupts are handled
_received = 0
_said = False


class Interrupted(BaseException):
    """The user pressed Ctrl-C."""


def install() -> None:
    """Handle interrupts of this process; one that was started to ignore them goes on doing so."""
    global _owner
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        _owner = os.getpid()
        signal.signal(signal.SIGINT, _interrupt)


def uninstall() -> None:
    """Let interrupts end this process silently: its work is done."""
    if _owner == os.getpid():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def received() -> bool:
    """Whether this process was interrupted."""
    return _received > 0 and _owner == os.getpid()


@contextmanager
def watched() -> Iterator[None]:
    """Raise `Interrupted` at the end of a block that was interrupted, however it ends."""
    try:
        yield
    except BaseException:
        if received():
            raise Interrupted from None
        raise
    if received():
        raise Interrupted


def leave() -> NoReturn:
    """Say once that the run can be continued, and end the processes that it started and itself."""
    _say()
    if _owner == os.getpid():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # whatever libraries report while the interpreter ends is of no use to the user
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _end_processes()
    sys.exit(EXIT_CODE)


def _leave_at_once() -> NoReturn:
    _say()
    _end_processes()
    os._exit(EXIT_CODE)


def _say() -> None:
    global _said
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    if not _said:
        with suppress(OSError):
            os.write(2, MESSAGE.encode())  # print is not allowed within a signal handler
    _said = _owner is not None


def _end_processes() -> None:
    processes = sys.modules.get("multiprocessing")
    with suppress(Exception):
        children = processes.active_children() if processes else []
        for child in children:
            child.kill()
        for child in children:
            child.join(1)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    global _received
    if os.getpid() != _owner:  # a forked worker is ended by the process that started it
        return
    _received += 1
    if _received > 1:
        _leave_at_once()
    # half-built objects of libraries complain when they are deleted
    sys.unraisablehook = lambda _: None
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda *_: _leave_at_once())
        signal.setitimer(signal.ITIMER_REAL, GRACE)
    raise Interrupted
