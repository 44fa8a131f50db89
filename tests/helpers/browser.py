"""Debian's Chromium, driven by Playwright; tests that need it are skipped where it is absent."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wsss_lightning.data.review.log import DecisionLog
from wsss_lightning.review.__main__ import listen, server_of
from wsss_lightning.review.run import ReviewedRun
from wsss_lightning.review.server import create_app
from wsss_lightning.review.session import Session

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def chromium():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no Chromium at {CHROMIUM}; set CHROMIUM to its path")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


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
