"""Splits photos into a training and a validation split, by seed.

Letters: n photos, s the side of a thumbnail.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from wsss_lightning.data.folder.photos import Photo


def split_photos(
    groups: Sequence[Sequence[Photo]],
    tags: Mapping[str, Collection[str]],
    masks: Collection[str],
    fraction: float,
    seed: int,
) -> set[str]:
    """Choose the photos of the validation split, with the same share of each class.

    Classes are distributed from the rarest to the most frequent one, as in iterative
    stratification. Within a class, the order of groups depends on the seed and on the contents of
    their own photos only, so that a further photo changes the side of few others. At least one
    group of each class is kept for training. If only some photos have masks, the validation split
    is chosen among these, so that it can be scored.

    Args:
        groups: photos that must be on one side, such as duplicates of each other.
        tags: classes of each photo, by name.
        masks: names of photos with a mask.
        fraction: share of the validation split, in [0, 1).
        seed: of the order.

    Returns:
        Names of the photos of the validation split.

    Source: Sechidis et al. 2011, "On the Stratification of Multi-label Data", with a fixed order in
    place of random draws.
    """
    if fraction == 0:
        return set()
    if masks and not all(photo.name in masks for group in groups for photo in group):
        total = sum(map(len, groups))
        groups = [group for group in groups if all(photo.name in masks for photo in group)]
        fraction = min(1.0, fraction * total / max(1, sum(map(len, groups))))
    ordered = sorted(groups, key=lambda group: min(_rank(photo, seed) for photo in group))
    classes = [{c for photo in group for c in tags[photo.name]} for group in ordered]
    counts = Counter(c for group in ordered for photo in group for c in tags[photo.name])
    side: dict[int, bool] = {}
    for c in sorted(counts, key=lambda c: (counts[c], c)):
        _distribute(c, ordered, classes, tags, round(fraction * counts[c]), side)
    # photos of no class
    rest = [i for i, group in enumerate(classes) if not group]
    wanted = round(fraction * sum(len(ordered[i]) for i in rest))
    for i in rest:
        side[i] = len(ordered[i]) <= wanted
        wanted -= len(ordered[i]) * side[i]
    return {photo.name for i, group in enumerate(ordered) if side[i] for photo in group}


def _distribute(
    c: str,
    groups: Sequence[Sequence[Photo]],
    classes: Sequence[Collection[str]],
    tags: Mapping[str, Collection[str]],
    wanted: int,
    side: dict[int, bool],
) -> None:
    """Decide the side of the groups of a class that are not decided yet.

    Args:
        c: the class.
        groups: in the order of the seed.
        classes: classes of each group.
        tags: classes of each photo, by name.
        wanted: number of photos of the class in the validation split.
        side: whether a group is in the validation split, by index; extended.
    """
    members = [i for i in range(len(groups)) if c in classes[i]]
    size = {i: sum(c in tags[photo.name] for photo in groups[i]) for i in members}
    wanted -= sum(size[i] for i in members if side.get(i, False))
    open_groups = [i for i in members if i not in side]
    trained = any(not side[i] for i in members if i in side)
    for number, i in enumerate(open_groups):
        is_last = number == len(open_groups) - 1 and not trained
        # a group may exceed the number by less than half of its size
        side[i] = not is_last and wanted * 2 > size[i]
        trained = trained or not side[i]
        wanted -= size[i] * side[i]


def group_photos(photos: Sequence[Photo], pairs: Sequence[tuple[str, str]]) -> list[list[Photo]]:
    """Groups of photos that pairs of names connect, directly or through other photos.

    Args:
        photos: all photos.
        pairs: names of two photos that belong together.
    """
    parent = {photo.name: photo.name for photo in photos}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for one, other in pairs:
        parent[root(one)] = root(other)
    groups: defaultdict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        groups[root(photo.name)].append(photo)
    return list(groups.values())


def _rank(photo: Photo, seed: int) -> str:
    return hashlib.sha256(f"{seed} {photo.fact.digest}".encode()).hexdigest()
