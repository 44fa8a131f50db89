"""Remarks about a folder of photos that its owner should see before a training."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from wsss_lightning.data.folder.labels import Labels
from wsss_lightning.data.folder.photos import Photo
from wsss_lightning.utils.text import shorten

FEW: Final = 10  # photos; a class with fewer in training is hardly learned


def missing_entries(labels: Labels) -> list[str]:
    """Remark on entries that name no photo."""
    if not labels.missing:
        return []
    return [f"{len(labels.missing)} entries name no photo ({shorten(labels.missing)})"]


def rare_and_equal(
    photos: Sequence[Photo],
    classes: Sequence[str],
    splits: Mapping[str, str],
    tags: Mapping[str, Sequence[str]],
    pairs: Collection[tuple[str, str]],
) -> list[str]:
    """Remarks on rare classes and duplicates."""
    counts = Counter(c for p in photos if splits[p.name] == "train" for c in tags[p.name])
    few = [f"{c} ({counts[c]})" for c in classes if counts[c] < FEW]
    notes = (
        [f"classes with fewer than {FEW} photos to learn from: {shorten(few, 8)}"] if few else []
    )
    digests = {photo.name: photo.fact.digest for photo in photos}
    known = [pair for pair in pairs if pair[0] in digests and pair[1] in digests]
    copies = [pair for pair in known if digests[pair[0]] == digests[pair[1]]]
    across = [pair for pair in known if splits[pair[0]] != splits[pair[1]]]
    differing = [" and ".join(pair) for pair in copies if tags[pair[0]] != tags[pair[1]]]
    if known:
        side = f"{len(across)} of them in both splits" if across else "on one side of the split"
        similar = len(known) - len(copies)
        notes.append(f"{len(copies)} pairs of equal photos and {similar} of similar ones, {side}")
    if differing:
        notes.append(f"equal photos have different tags: {shorten(differing)}")
    return notes
