"""Sub-categories of SC-CAM: clusters of the images of each class, and their quality.

Letters: n images, c classes, d values of a feature, k clusters of a class.
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

ABSENT = -1
"""Cluster number of an image that lacks the class."""

MAX_COMPARED = 5000
"""Number of images above which silhouettes are computed on a sample, since they take all pairs."""


def cluster(
    features: Float32[np.ndarray, "n d"],
    count: int,
    algorithm: str,
    n_init: int,
    max_iter: int,
    seed: int,
) -> Int[np.ndarray, "n"]:
    """Cluster of each image, 0..k - 1, by k-means under Euclidean distance.

    If there are fewer images than clusters, each image is a cluster.

    Args:
        features: features of the images of one class.
        count: k, at least 1.
        algorithm: "kmeans", or "minibatch" for 100,000 images and more.
        n_init: number of initialisations, of which the best result counts.
        max_iter: maximum number of iterations of each.
        seed: seed of the initialisations.

    Raises:
        ValueError: the algorithm is unknown.

    Source: Chang et al. 2020 (SC-CAM), sec. 3.2; `create_pseudo_label.py` of the official code,
    whose `n_init` was 10 by the default of its time.
    """
    known = {"kmeans": KMeans, "minibatch": MiniBatchKMeans}
    if algorithm not in known:
        raise ValueError(
            f"algorithm must be {' or '.join(known)}, got {algorithm}; minibatch is for 100,000 "
            "images and more"
        )
    if len(features) == 0:
        return np.zeros(0, np.int64)
    chosen = known[algorithm](
        min(count, len(features)), n_init=n_init, max_iter=max_iter, random_state=seed
    )
    return chosen.fit_predict(_coordinates(features)).astype(np.int64)


def _coordinates(features: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n _"]:
    """The same points in at most n dimensions with the same distances, which k-means depends on.

    n points span at most n dimensions; the triangle of a QR decomposition holds their coordinates.
    """
    n, d = features.shape
    if 2 * n > d:
        return features
    (triangle,) = scipy.linalg.qr(features.T, mode="r", check_finite=False)
    return np.ascontiguousarray(triangle[:n].T)


def sub_tags(clusters: Integer[np.ndarray, "n c"], count: int) -> Float[Tensor, "n ck"]:
    """Multi-hot sub-categories: entry `class * k + cluster` for each class of an image.

    Args:
        clusters: number of the cluster within each class, below k, or ABSENT.
        count: k.

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
    """Mean silhouette, in [-1, 1]: how much closer images are to their own cluster than to others.

    None if there are fewer than two clusters, or if each image is a cluster.

    Args:
        features: features of the images of one class.
        clusters: cluster of each image.
        seed: seed of the sample of images.

    Source: Rousseeuw 1987.
    """
    count = len(np.unique(clusters))
    if not 1 < count < len(clusters):
        return None
    sample = MAX_COMPARED if len(clusters) > MAX_COMPARED else None
    return float(silhouette_score(features, clusters, sample_size=sample, random_state=seed))


def agreement(
    one: Integer[np.ndarray, "n"], others: Sequence[Integer[np.ndarray, "n"]]
) -> float | None:
    """Mean adjusted Rand index of a clustering with others: 1 for equal ones, 0 for random ones.

    None if there are no others or fewer than two images.

    Source: Hubert & Arabie 1985.
    """
    if not others or len(one) < 2:
        return None
    return float(np.mean([adjusted_rand_score(one, other) for other in others]))


def quality(
    features: Float32[np.ndarray, "n d"],
    clusters: Integer[np.ndarray, "n"],
    count: int,
    other_clusterings: Sequence[Integer[np.ndarray, "n"]],
    subcategories: Integer[np.ndarray, "n"] | None,
    seed: int,
) -> dict[str, Any]:
    """Quality of the clusters of a class.

    Args:
        features: features of its images.
        clusters: cluster of each image.
        count: number of clusters.
        other_clusterings: clusterings of the same features from other seeds.
        subcategories: true sub-categories, ABSENT where unknown; None: all are unknown.
        seed: seed of the sample for the silhouette.

    Returns:
        images, sizes, silhouette, stability (agreement with the other
        clusterings) and recovery (agreement with
        `subcategories`); values are None where there is nothing to compare.
    """
    measures: dict[str, Any] = {
        "images": len(clusters),
        "sizes": np.bincount(clusters, minlength=count).tolist(),
        "silhouette": silhouette(features, clusters, seed),
        "stability": agreement(clusters, other_clusterings),
    }
    if subcategories is not None:
        known = subcategories != ABSENT
        measures["recovery"] = agreement(clusters[known], [subcategories[known]])
    return measures
