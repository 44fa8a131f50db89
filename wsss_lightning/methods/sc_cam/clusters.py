"""Sub-categories: clusters of the images of each class, as labels and as figures.

Letters: n images, c classes, d numbers of a feature, k clusters of a class.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Float32, Int, Integer, Num
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from torch import Tensor

from wsss_lightning.errors import InputError

ABSENT = -1
"""In place of a cluster's number: the image lacks the class."""

MOST_COMPARED = 5000
"""Images between which silhouettes are measured; more are sampled, since all pairs count."""


def cluster(
    features: Float32[np.ndarray, "n d"],
    count: int,
    algorithm: str,
    n_init: int,
    max_iter: int,
    seed: int,
) -> Int[np.ndarray, "n"]:
    """Number of each image's cluster, 0..k - 1, by k-means under Euclidean distance.

    Fewer images than clusters become clusters of one image each.

    Args:
        features: of the images of one class.
        count: k, at least 1.
        algorithm: "kmeans", or "minibatch" for sets of 100,000 images and more.
        n_init: beginnings, of which the best end counts.
        max_iter: iterations of each, at most.
        seed: of the beginnings.

    Raises:
        InputError: the algorithm is not known.

    Source: Chang et al. 2020 (SC-CAM), sec. 3.2; `create_pseudo_label.py` of the official code,
    whose `n_init` was 10 by the default of its time.
    """
    known = {"kmeans": KMeans, "minibatch": MiniBatchKMeans}
    if algorithm not in known:
        raise InputError(
            f"pipeline.clusters.algorithm is {algorithm}; set it to kmeans, or to minibatch for "
            "very large sets."
        )
    if len(features) == 0:
        return np.zeros(0, np.int64)
    chosen = known[algorithm](
        min(count, len(features)), n_init=n_init, max_iter=max_iter, random_state=seed
    )
    return chosen.fit_predict(_coordinates(features)).astype(np.int64)


def _coordinates(features: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n _"]:
    """The same points in at most n dimensions: all distances stay, and k-means needs no more.

    n points span n dimensions at most; the triangle of a QR decomposition holds their coordinates.
    """
    n, d = features.shape
    if 2 * n > d:
        return features
    (triangle,) = scipy.linalg.qr(features.T, mode="r", check_finite=False)
    return np.ascontiguousarray(triangle[:n].T)


def sub_tags(clusters: Integer[np.ndarray, "n c"], count: int) -> Float[Tensor, "n ck"]:
    """Multi-hot sub-categories: entry `class * k + cluster` for each class of an image.

    Args:
        clusters: number of the cluster within each class, or ABSENT.
        count: k; clusters are numbered below it.

    Returns:
        As many ones in each row as the image has tags.

    Source: `create_pseudo_label.py` of the official SC-CAM code.
    """
    images, classes = np.nonzero(clusters != ABSENT)
    tags = torch.zeros(len(clusters), clusters.shape[1] * count)
    tags[images, classes * count + clusters[images, classes]] = 1
    return tags


def silhouette(
    features: Num[np.ndarray, "n d"], clusters: Integer[np.ndarray, "n"], seed: int
) -> float | None:
    """How much nearer images are to their own cluster than to the next: -1..1, higher is better.

    None where there is nothing to compare: fewer than two clusters, or one image in each.

    Source: Rousseeuw 1987.
    """
    found = len(np.unique(clusters))
    if not 1 < found < len(clusters):
        return None
    sample = MOST_COMPARED if len(clusters) > MOST_COMPARED else None
    return float(silhouette_score(features, clusters, sample_size=sample, random_state=seed))


def agreement(
    one: Integer[np.ndarray, "n"], others: Sequence[Integer[np.ndarray, "n"]]
) -> float | None:
    """Mean adjusted Rand index of one clustering with others: 1 is the same, 0 chance.

    None where there are no others, or no two images to compare.

    Source: Hubert & Arabie 1985.
    """
    if not others or len(one) < 2:
        return None
    return float(np.mean([adjusted_rand_score(one, other) for other in others]))


def quality(
    features: Float32[np.ndarray, "n d"],
    clusters: Integer[np.ndarray, "n"],
    count: int,
    again: Sequence[Integer[np.ndarray, "n"]],
    looks: Integer[np.ndarray, "n"] | None,
    seed: int,
) -> dict[str, Any]:
    """How good the clusters of a class are.

    Args:
        features: of its images.
        clusters: number of each image's cluster.
        count: of clusters.
        again: clusterings of the same features from other seeds.
        looks: true sub-categories where they are known; ABSENT where not.
        seed: of the sample of the silhouette.

    Returns:
        images, sizes, silhouette, stability (agreement with `again`), and recovery (agreement with
        `looks`); figures are None where there is nothing to compare.
    """
    told: dict[str, Any] = {
        "images": len(clusters),
        "sizes": np.bincount(clusters, minlength=count).tolist(),
        "silhouette": silhouette(features, clusters, seed),
        "stability": agreement(clusters, again),
    }
    if looks is not None:
        known = looks != ABSENT
        told["recovery"] = agreement(clusters[known], [looks[known]])
    return told
