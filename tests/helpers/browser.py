"""The server of the review page, for tests in a browser."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsss_lightning.data.review.log import DecisionLog
from wsss_lightning.review.__main__ import listen, server_of
from wsss_lightning.review.run import ReviewedRun
from wsss_lightning.review.server import create_app
from wsss_lightning.review.session import Session


@contextmanager
def served(run: Path, out: Path) -> Iterator[tuple[Any, str]]:
    """The server of a run's page in a thread of this process, and the address of the page."""
    listener = listen(0)
    server = server_of(create_app(Session(ReviewedRun(run), DecisionLog(out)), "token"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{listener.getsockname()[1]}/token/"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
