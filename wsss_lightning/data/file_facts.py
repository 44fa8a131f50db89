"""What is known of files, remembered between runs: content digests and image headers.

Reading every byte of a data set takes minutes on a large one. A file whose path, size, times and
inode are those of the last time is not read again. The time of the inode's last change is among
them, which no program can set back, so pixels changed in place are noticed.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, final

from wsss_lightning.data.images import Header, header_of, is_whole, opened
from wsss_lightning.errors import InputError
from wsss_lightning.utils.files import write_text

CACHE: Final = "WSSS_CACHE"  # environment variable; the folder that generated data go to as well
FORMAT: Final = 1  # of the stored file
CHUNK: Final = 2**20  # bytes read at once
SMALL: Final = 64 * 2**10  # bytes of a file that a thread of its own does not read faster
THREADS: Final = 2 * (os.cpu_count() or 1)  # hashing releases Python's lock


class Fact(NamedTuple):
    """What is known of an image file.

    Attributes:
        digest: of its content.
        height: as stored.
        width: as stored.
        orientation: EXIF orientation, 1 to 8.
    """

    digest: str
    height: int
    width: int
    orientation: int

    @property
    def header(self) -> Header:
        return Header(self.height, self.width, self.orientation)


Known = dict[str, tuple[list[int], Fact]]  # stat and fact of a file, by its path
_loaded: dict[Path, tuple[list[int], Known]] = {}  # by the file that they are stored in


@final
class FileFacts:
    """Facts of the image files of a folder, stored in the user's cache.

    Args:
        folder: of the files.
        cache: folder to store the facts in; None: `$WSSS_CACHE`, or `~/.cache/wsss_lightning`.
            Where it cannot be written, files are read again by the next run.
    """

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        place = cache or Path(os.environ.get(CACHE) or "~/.cache/wsss_lightning").expanduser()
        name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]
        self._stored = place / "files" / f"{name}.json"
        self._below = f"{folder}{os.sep}"
        self._known: Known = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            self._known = dict(_load(self._stored))

    def of(self, paths: Iterable[Path]) -> dict[Path, Fact | InputError]:
        """Facts of files, or the error of one that cannot be used.

        A file whose end is not that of its format is decoded once, in full.
        """
        facts: dict[Path, Fact | InputError] = {}
        unread: list[tuple[Path, list[int]]] = []
        for path in dict.fromkeys(paths):
            try:
                stat = _stat(path)
            except OSError:
                facts[path] = InputError(f"{path} is missing; add it, or take it off the list.")
                continue
            known = self._known.get(self._key(path))
            if known is not None and known[0] == stat:
                facts[path] = known[1]
            else:
                unread.append((path, stat))
        if unread:
            results = _look_at([path for path, _ in unread], sum(stat[0] for _, stat in unread))
            for (path, stat), result in zip(unread, results, strict=True):
                facts[path] = result
                if isinstance(result, Fact):
                    self._known[self._key(path)] = stat, result
            self._store()
        return facts

    def _key(self, path: Path) -> str:
        """The path below the folder; all of it where it is elsewhere."""
        return str(path).removeprefix(self._below)

    def _store(self) -> None:
        files = {path: [stat, list(fact)] for path, (stat, fact) in self._known.items()}
        with contextlib.suppress(OSError):
            self._stored.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._stored, json.dumps({"format": FORMAT, "files": files}))
            _loaded[self._stored] = _stat(self._stored), self._known


def digests_of(paths: Iterable[Path]) -> list[str]:
    """Content digest of each file, read in parallel."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(_digest, paths))


def _load(stored: Path) -> Known:
    """Facts of a stored file, read once where all splits of a data set ask for it."""
    stamp, known = _loaded.get(stored, ([], {}))
    if stamp == _stat(stored):
        return known
    content = json.loads(stored.read_text(encoding="utf-8"))
    if content["format"] == FORMAT:
        known = {path: (stat, Fact(*fact)) for path, (stat, fact) in content["files"].items()}
        _loaded[stored] = _stat(stored), known
        return known
    return {}


def _look_at(paths: Sequence[Path], size: int) -> Iterable[Fact | InputError]:
    """Read files, in threads where they are large: those wait for each other on small ones."""
    if size < SMALL * len(paths):
        return map(_look, paths)
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(_look, paths))


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _look(path: Path) -> Fact | InputError:
    try:
        content = path.read_bytes()
        with opened(path, io.BytesIO(content)) as image:
            header = header_of(image)
            if not is_whole(content):
                image.load()  # an unusual end may be a missing one
    except InputError as error:
        return error
    except OSError as error:
        return InputError(f"{path} cannot be read ({error.strerror or error}); make it readable.")
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return Fact(digest, *header)


def _stat(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
