"""Thumbnails of photos, by which near-duplicates are found; each photo is decoded once.

Letters: n photos, s the side of a thumbnail.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from jaxtyping import UInt8

from wsss_lightning.data.duplicates import near_duplicates
from wsss_lightning.data.folder.photos import Photo
from wsss_lightning.data.images import opened, read_rgb, upright
from wsss_lightning.data.report import THUMBNAIL_SIDE, ImageReport, thumbnail
from wsss_lightning.errors import InputError
from wsss_lightning.utils.files import write_atomically

FILE: Final = "thumbnails.npz"
DRAFT_SIDE: Final = 16 * THUMBNAIL_SIDE  # pixels; JPEGs are decoded at the next size above
MAX_PHOTOS: Final = 20_000
"""Photos that are compared with each other; for more of them, comparing takes minutes."""

Thumbnail = UInt8[np.ndarray, "s s"]
Track = Callable[[Iterable[Thumbnail | InputError], int], Iterable[Thumbnail | InputError]]


def make_thumbnails(
    photos: Sequence[Photo], cache: Path, track: Track, workers: int = 4
) -> tuple[dict[str, Thumbnail], list[tuple[Photo, InputError]]]:
    """Thumbnails by digest of the file, and photos whose pixels cannot be decoded.

    Args:
        photos: to decode, where `cache` lacks them.
        cache: folder of the file of known thumbnails.
        track: progress bar: returns its first argument, an iterable of the given length.
        workers: number of threads.
    """
    known = _load(cache / FILE)
    unknown = list({p.fact.digest: p for p in photos if p.fact.digest not in known}.values())
    errors: dict[str, InputError] = {}
    with ThreadPoolExecutor(workers) as pool:
        made: Iterator[Thumbnail | InputError] = pool.map(_decode, unknown)
        for photo, result in zip(unknown, track(made, len(unknown)), strict=True):
            if isinstance(result, InputError):
                errors[photo.fact.digest] = result
            else:
                known[photo.fact.digest] = result
    if len(errors) < len(unknown):
        digests, stacked = np.array(list(known)), np.stack(list(known.values()))
        with contextlib.suppress(OSError):
            write_atomically(
                cache / FILE, lambda file: np.savez(file, digests=digests, thumbnails=stacked)
            )
    faulty = [(p, errors[p.fact.digest]) for p in photos if p.fact.digest in errors]
    return known, faulty


def duplicate_pairs(
    photos: Sequence[Photo], thumbnails: dict[str, Thumbnail]
) -> list[tuple[str, str]]:
    """Pairs of names of photos that are equal, resized, compressed or mirrored versions.

    Args:
        photos: to compare.
        thumbnails: by digest.
    """
    first: dict[str, str] = {}
    pairs = []
    for photo in photos:
        other = first.setdefault(photo.fact.digest, photo.name)
        if other != photo.name:
            pairs.append((other, photo.name))
    if len(first) > MAX_PHOTOS:
        return pairs
    reports = [
        ImageReport(name, digest=digest, thumbnail=thumbnails[digest])
        for digest, name in first.items()
    ]
    similar = {tuple(sorted(pair)) for pair in near_duplicates(reports, reports)}
    return pairs + [(one, other) for one, other in sorted(similar)]


def _decode(photo: Photo) -> Thumbnail | InputError:
    try:
        with opened(photo.path) as image:
            if image.format == "JPEG":
                image.draft("RGB", (DRAFT_SIDE, DRAFT_SIDE))
                return thumbnail(upright(image).convert("RGB"))
        return thumbnail(read_rgb(photo.path))
    except InputError as error:
        return error


def _load(path: Path) -> dict[str, Thumbnail]:
    """Known thumbnails; none if the file is missing or damaged."""
    damaged = (OSError, ValueError, KeyError, EOFError, BadZipFile)
    with contextlib.suppress(*damaged), np.load(path) as stored:
        return dict(zip(stored["digests"].tolist(), stored["thumbnails"], strict=True))
    return {}
