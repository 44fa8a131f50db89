import numpy as np
import pytest
from facts import raises_naming

from wsss_lightning.errors import InputError
from wsss_lightning.methods.sc_cam.clusters import ABSENT
from wsss_lightning.methods.sc_cam.files import (
    CLUSTERS,
    FEATURES,
    Features,
    collect_features,
    load_clusters,
    load_features,
    read_subcategories,
    save_clusters,
    save_features,
)


def test_parts_are_put_together_in_the_order_of_the_split(tmp_path):
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    whole = np.full(2, ABSENT)
    save_features(tmp_path / "part-c.npz", Features(["c", "a"], whole, rows[:2]))
    save_features(tmp_path / "part-b.npz", Features(["b", "d"], whole, rows[2:]))
    collect_features(tmp_path, ["a", "b", "c", "d"])
    found = load_features(tmp_path / FEATURES)
    assert found.names == ["a", "b", "c", "d"]
    assert found.rows.tolist() == [[2, 3], [4, 5], [0, 1], [6, 7]]
    assert found.of_class(3, ["d", "a"]).tolist() == [[6, 7], [2, 3]]
    assert [path.name for path in tmp_path.iterdir()] == [FEATURES]


def test_an_image_may_have_a_row_for_each_of_its_classes(tmp_path):
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    save_features(tmp_path / "part-b.npz", Features(["b", "b", "a"], np.array([2, 0, 2]), rows))
    collect_features(tmp_path, ["a", "b"])
    found = load_features(tmp_path / FEATURES)
    assert (found.names, found.classes.tolist()) == (["a", "b", "b"], [2, 0, 2])
    assert found.of_class(2, ["b", "a"]).tolist() == [[0, 1], [4, 5]]
    assert found.of_class(0, ["b"]).tolist() == [[2, 3]]


def test_clusters_are_read_as_they_were_written(tmp_path):
    clusters = np.array([[1, ABSENT], [0, 2]])
    save_clusters(tmp_path / CLUSTERS, ["x", "y"], clusters, 3)
    names, found, count = load_clusters(tmp_path / CLUSTERS)
    assert (names, found.tolist(), count) == (["x", "y"], [[1, -1], [0, 2]], 3)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no zip"])
def test_a_file_that_is_absent_or_damaged_is_named(tmp_path, content):
    path = tmp_path / FEATURES
    if content is not None:
        path.write_bytes(content)
    with raises_naming(InputError, "features.npz"):
        load_features(path)


TABLE = "name,instance,class,subcategory\na,1,cat,2\nb,1,cat,0\nb,2,cat,1\nc,1,dog,0\nz,1,cat,3\nc,2,bird,1\n"


def test_known_subcategories_are_those_of_images_with_one(tmp_path):
    path = tmp_path / "subcategories.csv"
    path.write_text(TABLE)
    found = read_subcategories(path, ["a", "b", "c", "d"], ["cat", "dog"])
    # b shows two cats of different sub-categories, and z and birds are of no interest
    assert found.tolist() == [[2, ABSENT], [ABSENT, ABSENT], [ABSENT, 0], [ABSENT, ABSENT]]


def test_a_table_of_subcategories_that_cannot_be_used_is_told(tmp_path):
    path = tmp_path / "subcategories.csv"
    with raises_naming(InputError, "subcategories.csv", "data.subcategories=null"):
        read_subcategories(path, ["a"], ["cat"])
    path.write_text("name,class,subcategori\n")
    with raises_naming(InputError, "subcategory", "subcategori"):
        read_subcategories(path, ["a"], ["cat"])


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (b"name,class,subcategory\n\xff\xfe", ["CSV"]),
        (b"name,class,subcategory\nb,cat\n", ["line 2"]),
        (b"name,class\nb,cat\n", ["subcategory"]),
    ],
)
def test_a_table_of_subcategories_that_does_not_fit_is_refused(tmp_path, content, facts):
    (tmp_path / "subcategories.csv").write_bytes(content)
    with raises_naming(InputError, "subcategories.csv", *facts):
        read_subcategories(tmp_path / "subcategories.csv", ["b"], ["cat"])
