"""Ctrl-C ends any command with one message and exit code 130.

An interrupt raises `Interrupted` in the main thread. `Interrupted` does not derive from
`KeyboardInterrupt`, because Lightning turns that into exit code 1 and ignores later ones. Libraries
may swallow the exception, or raise another one while they clean up; `watched` turns whatever
follows an interrupt into `Interrupted`. Files are written atomically and finished stages are kept,
so a run may end at any moment: a second interrupt, or `GRACE` seconds, ends the process at once.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

EXIT_CODE = 128 + signal.SIGINT  # as shells report it
GRACE = 10.0  # seconds in which loggers and processes may finish
MESSAGE = "\nInterrupted. Finished work is kept: run the same command to continue.\n"

_owner: int | None = None  # the process whose interrupts are handled
_received = 0
_printed = False


class Interrupted(BaseException):
    """The user pressed Ctrl-C."""


def install() -> None:
    """Handle interrupts of this process, unless it was started to ignore them."""
    global _owner
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        _owner = os.getpid()
        signal.signal(signal.SIGINT, _interrupt)


def uninstall() -> None:
    """Let an interrupt end this process without a message, because its work is done."""
    if _owner == os.getpid():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def received() -> bool:
    """Whether this process was interrupted."""
    return _received > 0 and _owner == os.getpid()


@contextmanager
def watched() -> Iterator[None]:
    """Raise `Interrupted` at the end of an interrupted block, whatever else the block raises."""
    try:
        yield
    except BaseException:
        if received():
            raise Interrupted from None
        raise
    if received():
        raise Interrupted


def leave() -> NoReturn:
    """Print the message once, end child processes, and exit."""
    _print_message()
    if _owner == os.getpid():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # hide what libraries print while the interpreter shuts down
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _end_processes()
    sys.exit(EXIT_CODE)


def _leave_at_once() -> NoReturn:
    _print_message()
    _end_processes()
    os._exit(EXIT_CODE)


def _print_message() -> None:
    global _printed
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    if not _printed:
        with suppress(OSError):
            os.write(2, MESSAGE.encode())  # print is not reentrant in a signal handler
    _printed = _owner is not None


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
    if os.getpid() != _owner:  # the parent ends a forked worker
        return
    _received += 1
    if _received > 1:
        _leave_at_once()
    # libraries report errors when half-built objects are deleted
    sys.unraisablehook = lambda _: None
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda *_: _leave_at_once())
        signal.setitimer(signal.ITIMER_REAL, GRACE)
    raise Interrupted
