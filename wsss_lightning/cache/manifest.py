"""What a finished stage consists of, and whether it still does."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss_lightning.data.file_facts import digests_of

RECORD, MANIFEST = "stage.json", "manifest.json"
# of loggers: no stage reads them, and users move, sync or delete them
LOGS = ("csv", "tensorboard", "wandb", "wandb_run.txt", "lightning_logs")


def take(folder: Path) -> dict[str, Any]:
    """Bytes, digest and times of each file below a folder, logs left out."""
    found = dict(_stats(folder))
    digests = _digests(folder, found)
    return {
        "files": {name: [found[name].st_size, digests[name]] for name in found},
        "times": {name: _times(stat) for name, stat in found.items()},
    }


def content(manifest: Mapping[str, Any]) -> str:
    """A digest of names and contents, whenever and wherever they were written."""
    lines = [f"{name}\0{size}\0{digest}" for name, (size, digest) in manifest["files"].items()]
    return hashlib.blake2b("\n".join(sorted(lines)).encode(), digest_size=16).hexdigest()


def wrong(folder: Path, manifest: Mapping[str, Any]) -> tuple[dict[str, str], bool]:
    """Files that are not what they were, and what became of each.

    A file whose size and times (of its content and of its inode, which no program can set back)
    are those of the manifest is taken as it is; where any differ, contents decide, and once one
    is wrong, those of all files do.

    Returns:
        `missing`, `truncated`, `longer` or `altered` by file name, and whether there were files
        that are right but have other times, such as copies.
    """
    found, files = dict(_stats(folder)), manifest["files"]
    bad = {name: _kind(name, size, found) for name, (size, _) in files.items()}
    bad = {name: kind for name, kind in bad.items() if kind}
    there = [name for name in files if name not in bad]
    touched = [name for name in there if _times(found[name]) != manifest["times"].get(name)]
    if touched:
        bad |= _altered(folder, touched, files)
    if bad:
        rest = set(there) - set(touched)
        bad |= _altered(folder, rest, files)
    return dict(sorted(bad.items())), bool(touched)


def refreshed(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with the times that files have now, so that they need not be read again."""
    now = dict(_stats(folder))
    return {**manifest, "times": {name: _times(now[name]) for name in manifest["files"]}}


def _kind(name: str, size: int, found: Mapping[str, os.stat_result]) -> str:
    if name not in found:
        return "missing"
    there = found[name].st_size
    return "" if there == size else "truncated" if there < size else "longer"


def _altered(
    folder: Path, names: Iterable[str], files: Mapping[str, Sequence[Any]]
) -> dict[str, str]:
    now = _digests(folder, names)
    return {name: "altered" for name, digest in now.items() if digest != files[name][1]}


def _digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    names = list(names)
    return dict(zip(names, digests_of(folder / name for name in names), strict=True))


def _times(stat: os.stat_result) -> list[int]:
    return [stat.st_mtime_ns, stat.st_ctime_ns]


def _stats(folder: Path, below: str = "") -> Iterator[tuple[str, os.stat_result]]:
    for entry in sorted(os.scandir(folder / below), key=lambda e: e.name):
        if not below and entry.name in (RECORD, MANIFEST, *LOGS):
            continue
        name = f"{below}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _stats(folder, f"{name}/")
        else:
            yield name, entry.stat()
