import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from wsss_lightning.methods.sc_cam.clusters import (
    ABSENT,
    MAX_COMPARED,
    _coordinates,
    agreement,
    cluster,
    quality,
    silhouette,
    sub_tags,
)

KMEANS = {"algorithm": "kmeans", "n_init": 10, "max_iter": 300}


def hills(images, numbers, count=4, spread=0.4, seed=0):
    """Features around `count` centres, and the centre of each."""
    rng = np.random.default_rng(seed)
    of = rng.integers(count, size=images)
    centres = rng.standard_normal((count, numbers))
    noise = spread * rng.standard_normal((images, numbers))
    return np.maximum(0, centres[of] + noise).astype(np.float32), of


@pytest.mark.parametrize(("images", "numbers"), [(40, 200), (150, 20), (60, 100)])
@pytest.mark.parametrize("seed", [0, 7])
def test_clusters_are_those_of_a_plain_scikit_learn_call(images, numbers, seed):
    features, _ = hills(images, numbers, spread=1.5)
    plain = KMeans(10, n_init=10, max_iter=300, random_state=seed).fit(features)
    assert np.array_equal(cluster(features, 10, **KMEANS, seed=seed), plain.labels_)


@pytest.mark.parametrize("algorithm", ["kmeans", "minibatch"])
def test_well_separated_groups_are_found(algorithm):
    features, of = hills(200, 64)
    how = KMEANS | {"algorithm": algorithm}
    assert agreement(cluster(features, 4, **how, seed=0), [of]) == 1


@pytest.mark.parametrize(("images", "expected"), [(0, []), (1, [0]), (3, [0, 1, 2])])
def test_fewer_images_than_clusters_have_one_each(images, expected):
    features = np.eye(5, dtype=np.float32)[:images]
    assert sorted(cluster(features, 10, **KMEANS, seed=0)) == expected


def test_an_unknown_algorithm_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"algorithm must be kmeans or minibatch, got dbscan"):
        cluster(np.eye(3, dtype=np.float32), 2, **KMEANS | {"algorithm": "dbscan"}, seed=0)


@given(st.integers(1, 12), st.integers(1, 60), st.integers(0, 99))
def test_points_in_fewer_dimensions_keep_all_distances(images, numbers, seed):
    features = np.random.default_rng(seed).standard_normal((images, numbers)).astype(np.float32)
    small = _coordinates(features)
    assert small.shape[1] <= max(2 * images, 1)

    def distances(points):
        return np.linalg.norm(points[:, None] - points[None], axis=-1)

    np.testing.assert_allclose(distances(small), distances(features), atol=1e-4)


def test_sub_tags_of_an_image_with_several_tags_have_one_entry_for_each():
    # classes 0, 1, 2 of 10 clusters: entry 10 c + k, as the official arrays have it
    clusters = np.array([[3, ABSENT, 9], [ABSENT, 0, ABSENT], [ABSENT, ABSENT, ABSENT]])
    tags = sub_tags(clusters, 10)
    assert tags.shape == (3, 30)
    assert torch.nonzero(tags).tolist() == [[0, 3], [0, 29], [1, 10]]
    assert tags.sum() == 3


def official_rule(clusters, count):
    """Rows of one class after the other, summed over the rows of each image."""
    n, c = clusters.shape
    rows = [(i, k * count + clusters[i, k]) for k in range(c) for i in range(n)]
    merged = np.zeros((n, c * count))
    for (i, entry), k in zip(rows, np.repeat(np.arange(c), n), strict=True):
        if clusters[i, k] != ABSENT:
            merged[i, entry] += 1
    return merged


@given(st.integers(0, 99), st.integers(1, 6), st.integers(1, 5))
def test_there_is_a_sub_tag_for_each_tag_inside_its_class(seed, images, count):
    rng = np.random.default_rng(seed)
    clusters = rng.integers(ABSENT, count, size=(images, 4))
    tags = sub_tags(clusters, count)
    assert np.array_equal(tags.numpy(), official_rule(clusters, count))
    parents = tags.unflatten(1, (4, count)).sum(-1)
    assert torch.equal(parents, torch.from_numpy(clusters != ABSENT).float())


def test_the_silhouette_is_that_of_its_definition():
    # of the points 0, 1 | 10, 12: (b - a) / max(a, b) with a to the own, b to the other cluster
    points = np.array([[0.0], [1.0], [10.0], [12.0]])
    each = [(11 - 1) / 11, (10 - 1) / 10, (9.5 - 2) / 9.5, (11.5 - 2) / 11.5]
    assert silhouette(points, np.array([0, 0, 1, 1]), 0) == pytest.approx(np.mean(each))


@pytest.mark.parametrize("clusters", [[0, 0, 0], [0, 1, 2], [], [0]])
def test_where_nothing_can_be_compared_there_is_no_silhouette(clusters):
    assert silhouette(np.random.rand(len(clusters), 2), np.array(clusters, int), 0) is None


def test_of_very_many_images_a_sample_is_compared():
    features, of = hills(MAX_COMPARED + 100, 2, count=3, spread=0.05)
    assert silhouette(features, of, 0) == pytest.approx(
        silhouette(features[:2000], of[:2000], 0), abs=0.02
    )


def test_agreement_does_not_ask_for_the_same_numbers():
    one = np.array([0, 0, 1, 1, 2])
    assert agreement(one, [np.array([2, 2, 0, 0, 1])]) == 1
    assert agreement(one, [one, np.array([0, 1, 0, 1, 0])]) < 1
    assert agreement(one, []) is None
    assert agreement(one[:1], [one[:1]]) is None


def test_quality_leaves_out_images_whose_look_is_not_known():
    features, of = hills(40, 8)
    subcategories = of.copy()
    subcategories[::3] = ABSENT
    measures = quality(features, of, 5, [of], subcategories, seed=0)
    assert measures["images"] == 40
    assert measures["sizes"] == [*np.bincount(of), 0]
    assert measures["stability"] == measures["recovery"] == 1
    assert "recovery" not in quality(features, of, 5, [of], None, seed=0)
