"""Appends decisions to their file so that none is lost."""

import os
import threading
from pathlib import Path
from typing import final

from filelock import FileLock

from wsss_lightning.data.review.decisions import (
    Decision,
    complete_length,
    header,
    parse_decisions,
)
from wsss_lightning.errors import InputError
from wsss_lightning.utils.files import sync_folder


@final
class DecisionLog:
    """The file of decisions, which several threads and programs may extend at once.

    Args:
        path: path of the CSV file; it is created with the first decision.

    Raises:
        InputError: the file exists and is no such table, or its folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise InputError(f"{path} is a folder; give a file for the decisions: --out FILE.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{path.parent} cannot be created ({error.strerror}); choose another file: "
                "--out FILE."
            ) from error
        writable = os.access(path if path.exists() else path.parent, os.W_OK)
        if not writable or not os.access(path.parent, os.W_OK):
            raise InputError(f"{path} cannot be written; choose another file: --out FILE.")
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        self._threads = threading.Lock()
        self._stat: tuple[int, int, int] | None = None
        self._decisions: list[Decision] = []
        self.read()

    def read(self) -> list[Decision]:
        """All decisions in their order; read again only if the file changed.

        Raises:
            InputError: the file is damaged.
        """
        with self._threads:
            return self._read()

    def append(self, decision: Decision) -> list[Decision]:
        """Append a decision, and return when it is on disk.

        The rest of a row that another program left incomplete is removed first.

        Returns:
            All decisions, this one last.

        Raises:
            OSError: the file cannot be written; it holds what it held before.
            InputError: the file is damaged.
        """
        with self._threads, self._lock:
            decisions = self._read()
            content = self.path.read_bytes() if self.path.exists() else b""
            keep = complete_length(content)
            before = b"\n" if content[:keep] and not content[:keep].endswith(b"\n") else b""
            if not content[:keep].strip(b"\xef\xbb\xbf"):
                before = header()
            self._write(before + decision.as_row(), keep, len(content))
            self._stat = _stat(self.path)
            self._decisions = [*decisions, decision]
            return self._decisions

    def _read(self) -> list[Decision]:
        stat = _stat(self.path)
        if stat != self._stat:
            content = self.path.read_bytes() if stat else b""
            self._decisions = parse_decisions(content, self.path)
            self._stat = stat
        return self._decisions

    def _write(self, data: bytes, keep: int, length: int) -> None:
        """Write after the first `keep` of `length` bytes, and undo it if it fails."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                if keep < length:
                    os.ftruncate(descriptor, keep)
                os.lseek(descriptor, keep, os.SEEK_SET)
                left = memoryview(data)
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, keep)
                raise
        finally:
            os.close(descriptor)
        if not length:
            sync_folder(self.path.parent)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
