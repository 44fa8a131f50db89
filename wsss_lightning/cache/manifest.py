"""Manifest of a finished stage: size, checksum and times of each of its files."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss_lightning.data.file_facts import digests_of

RECORD, MANIFEST = "stage.json", "manifest.json"
# logs, which no stage reads, and which users may move, sync or delete
LOGS = ("csv", "tensorboard", "wandb", "wandb_run.txt", "lightning_logs")


def build(folder: Path) -> dict[str, Any]:
    """Size, digest and times of each file below a folder, without logs."""
    stats = dict(_stats(folder))
    digests = _digests(folder, stats)
    return {
        "files": {name: [stats[name].st_size, digests[name]] for name in stats},
        "times": {name: _times(stat) for name, stat in stats.items()},
    }


def content(manifest: Mapping[str, Any]) -> str:
    """Digest of the names and contents of all files."""
    lines = [f"{name}\0{size}\0{digest}" for name, (size, digest) in manifest["files"].items()]
    return hashlib.blake2b("\n".join(sorted(lines)).encode(), digest_size=16).hexdigest()


def find_changes(folder: Path, manifest: Mapping[str, Any]) -> tuple[dict[str, str], bool]:
    """Find files that changed since the manifest was built.

    A file with the size and times of the manifest counts as unchanged; programs cannot set back
    the time of an inode. The contents of files with other times are compared; if one of them
    changed, the contents of all files are.

    Returns:
        `missing`, `truncated`, `longer` or `altered` by file name; and whether some files have
        other times, as copies do.
    """
    stats, files = dict(_stats(folder)), manifest["files"]
    changes = {name: _size_change(name, size, stats) for name, (size, _) in files.items()}
    changes = {name: change for name, change in changes.items() if change}
    present = [name for name in files if name not in changes]
    touched = [name for name in present if _times(stats[name]) != manifest["times"].get(name)]
    if touched:
        changes |= _altered(folder, touched, files)
    if changes:
        changes |= _altered(folder, set(present) - set(touched), files)
    return dict(sorted(changes.items())), bool(touched)


def update_times(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with the current times of its files."""
    stats = dict(_stats(folder))
    return {**manifest, "times": {name: _times(stats[name]) for name in manifest["files"]}}


def _size_change(name: str, size: int, stats: Mapping[str, os.stat_result]) -> str:
    if name not in stats:
        return "missing"
    present = stats[name].st_size
    return "" if present == size else "truncated" if present < size else "longer"


def _altered(
    folder: Path, names: Iterable[str], files: Mapping[str, Sequence[Any]]
) -> dict[str, str]:
    digests = _digests(folder, names)
    return {name: "altered" for name, digest in digests.items() if digest != files[name][1]}


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
