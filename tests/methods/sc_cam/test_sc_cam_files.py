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


def test_parts_are_merged_in_the_order_of_the_split(tmp_path):
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    whole = np.full(2, ABSENT)
    save_features(tmp_path / "part-c.npz", Features(["c", "a"], whole, rows[:2]))
    save_features(tmp_path / "part-b.npz", Features(["b", "d"], whole, rows[2:]))
    collect_features(tmp_path, ["a", "b", "c", "d"])
    loaded = load_features(tmp_path / FEATURES)
    assert loaded.names == ["a", "b", "c", "d"]
    assert loaded.rows.tolist() == [[2, 3], [4, 5], [0, 1], [6, 7]]
    assert loaded.of_class(3, ["d", "a"]).tolist() == [[6, 7], [2, 3]]
    assert [path.name for path in tmp_path.iterdir()] == [FEATURES]


def test_an_image_may_have_a_row_for_each_of_its_classes(tmp_path):
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    save_features(tmp_path / "part-b.npz", Features(["b", "b", "a"], np.array([2, 0, 2]), rows))
    collect_features(tmp_path, ["a", "b"])
    loaded = load_features(tmp_path / FEATURES)
    assert (loaded.names, loaded.classes.tolist()) == (["a", "b", "b"], [2, 0, 2])
    assert loaded.of_class(2, ["b", "a"]).tolist() == [[0, 1], [4, 5]]
    assert loaded.of_class(0, ["b"]).tolist() == [[2, 3]]


def test_clusters_survive_a_round_trip(tmp_path):
    clusters = np.array([[1, ABSENT], [0, 2]])
    save_clusters(tmp_path / CLUSTERS, ["x", "y"], clusters, 3)
    names, loaded, count = load_clusters(tmp_path / CLUSTERS)
    assert (names, loaded.tolist(), count) == (["x", "y"], [[1, -1], [0, 2]], 3)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no zip"])
def test_a_missing_or_damaged_file_is_named(tmp_path, content):
    path = tmp_path / FEATURES
    if content is not None:
        path.write_bytes(content)
    with raises_naming(InputError, "features.npz"):
        load_features(path)


TABLE = """name,instance,class,subcategory
a,1,cat,2
b,1,cat,0
b,2,cat,1
c,1,dog,0
z,1,cat,3
c,2,bird,1
"""


def test_images_with_a_single_subcategory_of_a_class_have_its_number(tmp_path):
    path = tmp_path / "subcategories.csv"
    path.write_text(TABLE)
    subcategories = read_subcategories(path, ["a", "b", "c", "d"], ["cat", "dog"])
    # b has two cats of different sub-categories; the image z and the class bird are not requested
    assert subcategories.tolist() == [[2, ABSENT], [ABSENT, ABSENT], [ABSENT, 0], [ABSENT, ABSENT]]


def test_a_missing_table_or_column_is_named(tmp_path):
    path = tmp_path / "subcategories.csv"
    with raises_naming(InputError, "subcategories.csv", "subcategories", "null"):
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
def test_a_table_with_wrong_encoding_line_or_columns_is_refused(tmp_path, content, facts):
    (tmp_path / "subcategories.csv").write_bytes(content)
    with raises_naming(InputError, "subcategories.csv", *facts):
        read_subcategories(tmp_path / "subcategories.csv", ["b"], ["cat"])
