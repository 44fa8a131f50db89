"""Serves a page to review the pseudo masks of a run: `wsss-lightning review RUN`."""

import argparse
import secrets
import shlex
import signal
import socket
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wsss_lightning.cli.parser import verb_parser
from wsss_lightning.errors import InputError
from wsss_lightning.utils.console import print_plain

DESCRIPTION = """
Serve a page on this machine to look at the pseudo masks of a run, the worst first, and to accept,
reject and correct them. Each decision is saved at once in a CSV file, which the next run takes with
pseudo.review=FILE. Needs pip install 'wsss-lightning[review]'.
"""
EXAMPLES = ("review runs/cam", "review runs/cam --port 8123 --no-browser")
HOST = "127.0.0.1"
GRACE = 20  # seconds that requests may take to end


def parser() -> argparse.ArgumentParser:
    """Parser of the command."""
    made = verb_parser("review", DESCRIPTION, EXAMPLES)
    made.add_argument("run", type=Path, help="folder of a finished run")
    made.add_argument("--out", type=Path, help="file of the decisions; default: RUN/review.csv")
    made.add_argument("--split", help="split to show; default: the training split")
    made.add_argument("--port", type=int, default=0, help="default: any free port")
    made.add_argument("--no-browser", action="store_true", help="print the address only")
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        InputError: as in `serve`.
    """
    given = parser().parse_args(arguments)
    serve(given.run, given.out, given.split, given.port, browser=not given.no_browser)


def serve(folder: Path, out: Path | None, split: str | None, port: int, browser: bool) -> None:
    """Serve the page until Ctrl-C.

    Args:
        folder: folder of the run.
        out: file of the decisions; None: the file that the run used itself, or review.csv in its
            folder.
        split: split to show; None: the training split.
        port: 0 to 65535; 0: any free one.
        browser: open the page.

    Raises:
        InputError: a package is missing, or the run, the file or the port cannot be used.
    """
    check_packages()
    listener = listen(port)
    with listener:
        from wsss_lightning.data.review.log import DecisionLog
        from wsss_lightning.review.run import ReviewedRun
        from wsss_lightning.review.server import create_app
        from wsss_lightning.review.session import Session

        run = ReviewedRun(folder, split)
        log = DecisionLog(out or _earlier_file(run.run.overrides) or run.run.folder / "review.csv")
        token = secrets.token_urlsafe(24)
        app = create_app(Session(run, log), token)
        address = f"http://{HOST}:{listener.getsockname()[1]}/{token}/"
        print_plain(f"{run.title}: {len(run.names)} images of {run.split}")
        if not run.quality.images:
            print_plain("The run has no quality.csv, so images are ordered by name.", "yellow")
        print_plain(f"decisions  {log.path}\npage       {address}\nCtrl-C ends the review.")
        if browser:
            webbrowser.open(address)
        # uvicorn ends on Ctrl-C, and then raises it again
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            server_of(app).run(sockets=[listener])
        print_plain(
            f"\nUse the decisions in the next run: pseudo.review={shlex.quote(str(log.path))}"
        )


def server_of(app: Any) -> Any:
    """The server of an application; at its end it waits for open requests."""
    import uvicorn

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE
    )
    return uvicorn.Server(config)


def _earlier_file(overrides: dict[str, str]) -> Path | None:
    """The file whose decisions made the run, if it is still there: reviews continue in it."""
    text = overrides.get("pseudo.review", "").strip("'\"")
    path = Path(text).expanduser()
    return path if text and path.is_file() else None


def check_packages() -> None:
    """Check that the packages of the extra `review` are installed.

    Raises:
        InputError: one is not.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"The review page needs {error.name}, which is not installed; "
            "pip install 'wsss-lightning[review]'."
        ) from error


def listen(port: int) -> socket.socket:
    """A socket of this machine that waits for browsers; port 0 takes any free one.

    Raises:
        InputError: the port cannot be used.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port is {port}, but must be in [0, 65535]; 0 takes any free port.")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()  # the browser may ask before the server is ready
    except OSError as error:
        listener.close()
        raise InputError(
            f"--port is {port}, which cannot be used ({error.strerror}); choose another, or 0 for "
            "any free port."
        ) from error
    return listener
