"""The order in which images are worth a person's time."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from heapq import heapify, heappop, heappush

UNKNOWN = 0.5  # quality where none was estimated
ATTEMPTS = 10  # images that are compared for each that is proposed, at most


def worst_first(quality: Sequence[float | None], names: Sequence[str]) -> list[int]:
    """Indices of all images, the lowest quality first; images without quality follow by name.

    Args:
        quality: of each image, in [0, 1]; None: unknown.
        names: names of the images.
    """
    keys = [(1.0, 1, n) if q is None else (q, 0, n) for q, n in zip(quality, names, strict=True)]
    return sorted(range(len(keys)), key=lambda i: (keys[i][1], keys[i][0], keys[i][2]))


def next_to_review(
    order: Sequence[int],
    quality: Sequence[dict[int, float]],
    reviewed: Collection[int],
    is_duplicate: Callable[[int, Sequence[int]], bool],
    count: int,
) -> list[int]:
    """Images to review next: of low quality, of all classes in turn, and near-duplicates once.

    The image with the largest max_c (1 - quality_c) / (1 + n_c) comes next, over its classes c;
    n_c counts the images of c that are reviewed or already proposed. A class thus loses half of its
    weight with its first image, two thirds with its second one, and so on.

    Args:
        order: indices of all images, the lowest quality first, which decides between equals.
        quality: of each image, the quality of its classes; background only: empty.
        reviewed: indices of images with a decision.
        is_duplicate: whether an image shows almost the same as one of others.
        count: largest number of images to propose.
    """
    seen = Counter(c for i in reviewed for c in quality[i])
    chosen: list[int] = []
    attempts = ATTEMPTS * count

    def gain(i: int) -> float:
        return max(((1 - q) / (1 + seen[c]) for c, q in quality[i].items()), default=0.0)

    left = [(-gain(i), place, i) for place, i in enumerate(order) if i not in reviewed]
    heapify(left)
    while left and len(chosen) < count and attempts:
        _, place, best = heappop(left)
        # gains only become smaller, so the first that is still the largest is it
        if left and (-gain(best), place) > left[0][:2]:
            heappush(left, (-gain(best), place, best))
            continue
        attempts -= 1
        if not is_duplicate(best, [*reviewed, *chosen]):
            chosen.append(best)
            seen.update(quality[best].keys())
    return chosen
