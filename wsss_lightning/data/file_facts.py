"""Digests and headers of image files, cached between runs.

Reading every byte of a large dataset takes minutes. A file is not read again if its path, size,
times and inode are unchanged. They include the time of the last inode change, which programs
cannot set, so that pixels changed in place are detected.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, final

from wsss_lightning.data.images import Header, header_of, is_intact, opened
from wsss_lightning.errors import InputError
from wsss_lightning.utils.files import write_text

CACHE: Final = (
    "WSSS_CACHE"  # environment variable: folder of the cache, which also holds generated datasets
)
FORMAT: Final = 2  # version of the stored file
CHUNK: Final = 2**20  # bytes per read
SMALL: Final = 64 * 2**10  # bytes; threads do not speed up reading of smaller files
THREADS: Final = 2 * (os.cpu_count() or 1)  # hashing releases the GIL


class Fact(NamedTuple):
    """Digest and header of an image file.

    Attributes:
        digest: digest of the content.
        height: as stored, pixels.
        width: as stored, pixels.
        orientation: EXIF orientation, 1 to 8.
        deep: whether a channel has more than 8 bits.
    """

    digest: str
    height: int
    width: int
    orientation: int
    deep: bool

    @property
    def header(self) -> Header:
        return Header(self.height, self.width, self.orientation, self.deep)


Known = dict[str, tuple[list[int], Fact]]  # stat and fact of each file, by path
_loaded: dict[Path, tuple[list[int], Known]] = {}  # stat and content of each cache file


@final
class FileFacts:
    """Digests and headers of the image files in a folder, with a cache on disk.

    Args:
        folder: folder of the files.
        cache: folder of the cache; None: `$WSSS_CACHE`, or `~/.cache/wsss_lightning`. If it is not
            writable, the next run reads all files again.
    """

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        cache = cache or Path(os.environ.get(CACHE) or "~/.cache/wsss_lightning").expanduser()
        name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]
        self._stored = cache / "files" / f"{name}.json"
        self._below = f"{folder}{os.sep}"
        self._known: Known = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            self._known = dict(_load(self._stored))

    def of(self, paths: Iterable[Path]) -> dict[Path, Fact | InputError]:
        """Facts of files; an `InputError` for each file that cannot be used.

        A file without the end marker of its format is decoded once, to detect truncation.
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
            results = _read_all([path for path, _ in unread], sum(stat[0] for _, stat in unread))
            for (path, stat), result in zip(unread, results, strict=True):
                facts[path] = result
                if isinstance(result, Fact):
                    self._known[self._key(path)] = stat, result
            self._store()
        return facts

    def adopt(self, folder: Path, targets: Mapping[Path, Path]) -> None:
        """Take over facts that the cache has of the same files below another folder.

        Args:
            folder: the other folder.
            targets: file below it, by the path of a link to it.
        """
        other = FileFacts(folder, self._stored.parents[1])
        for link, target in targets.items():
            if (known := other._known.get(other._key(target))) is not None:
                self._known[self._key(link)] = known
        self._store()

    def _key(self, path: Path) -> str:
        """The path relative to the folder, or the full path of a file elsewhere."""
        return str(path).removeprefix(self._below)

    def _store(self) -> None:
        files = {path: [stat, list(fact)] for path, (stat, fact) in self._known.items()}
        with contextlib.suppress(OSError):
            self._stored.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._stored, json.dumps({"format": FORMAT, "files": files}))
            _loaded[self._stored] = _stat(self._stored), self._known


def digests_of(paths: Iterable[Path]) -> list[str]:
    """Digest of the content of each file, read in parallel."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(digest_of, paths))


def _load(stored: Path) -> Known:
    """Content of a cache file, which all splits of a dataset share."""
    stat, known = _loaded.get(stored, ([], {}))
    if stat == _stat(stored):
        return known
    content = json.loads(stored.read_text(encoding="utf-8"))
    if content["format"] == FORMAT:
        known = {path: (stat, Fact(*fact)) for path, (stat, fact) in content["files"].items()}
        _loaded[stored] = _stat(stored), known
        return known
    return {}


def _read_all(paths: Sequence[Path], size: int) -> Iterable[Fact | InputError]:
    """Read files, in threads if they are large; on small ones, threads wait for the GIL."""
    if size < SMALL * len(paths):
        return map(_read, paths)
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(_read, paths))


def digest_of(path: Path) -> str:
    """Digest of the content of a file."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _read(path: Path) -> Fact | InputError:
    try:
        content = path.read_bytes()
        with opened(path, io.BytesIO(content)) as image:
            header = header_of(image)
            if not is_intact(content):
                image.load()  # the file may be truncated
    except InputError as error:
        return error
    except OSError as error:
        return InputError(f"{path} cannot be read ({error.strerror or error}); make it readable.")
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return Fact(digest, *header)


def _stat(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
