"""Tables of tags as spreadsheets, scripts and labelling tools write them."""

import numpy as np
import pytest
from facts import raises_naming
from PIL import Image

from wsss_lightning.data.sources.names import ClassNames, ImageIndex
from wsss_lightning.data.sources.tags import read_csv, read_npy
from wsss_lightning.errors import InputError

CLASSES = ClassNames(["cat", "dog", "hot dog"])
TAGS = {"a": [1, 0, 0], "b c": [1, 1, 0], "d": [0, 0, 1]}


@pytest.fixture
def images(tmp_path) -> ImageIndex:
    (tmp_path / "images").mkdir()
    for name in TAGS:
        Image.new("RGB", (2, 2)).save(tmp_path / f"images/{name}.jpg")
    return ImageIndex(tmp_path / "images", tmp_path / "masks")


@pytest.fixture
def read(tmp_path, images):
    def call(text: str, classes: ClassNames = CLASSES):
        (tmp_path / "tags.csv").write_text(text, encoding="utf-8")
        return read_csv(tmp_path / "tags.csv", images, classes)

    return call


@pytest.mark.parametrize(
    "text",
    [
        "image,cat,dog,hot dog\na,1,0,0\nb c,1,1,0\nd,0,0,1\n",
        "filename;cat;dog;hot dog\na.jpg;1;0;0\nb c.jpg;1;1;0\nd.jpg;0;0;1\n",
        "image\thot_dog\tDog\t Cat \na\t0\t0\t1\nb c\t0\t1\t1\nd\t1\t0\t0\n",
        "sep=|\nimage|cat|dog|hot dog\na|1|0|0\n\nb c|1|1|0\nd|0|0|1\n",
        ",image,cat,dog,hot-dog\n0,a,1,0,0\n1,b c,1,1,0\n2,d,0,0,1\n",  # pandas' index
        "file,cat,dog,hot dog,width\na,TRUE,False,0.0,640\nb c,1,1,0,640\nd,0,0,1,480\n",
        'image;cat;dog;hot dog\na;1,0;0,0;0\n"b c";1;1;0\nd;0;0;1\n',
        # words
        'image,labels\na.jpg,cat\nb c.jpg,"cat,dog"\nd.jpg,hot dog\n',
        'a,cat\nb c,"dog, cat"\nd,"hot dog"\n',  # without a header
        "image;tags\na;cat\nb c;cat|dog\nd;HOT_DOG\n",
        "image,class\na,cat\nb c,cat\nb c,dog\nd,hot dog\n",  # a row for each object
        "image,first,second\na,cat,\nb c,dog,cat\nd,hot dog,\n",
        "id\tlabels\na\tcat\nb c\tcat dog\nd\thot dog\n",
    ],
)
def test_tables_with_columns_of_classes_or_with_words_give_the_same_tags(read, text):
    table = read(text)
    assert {name: tags.tolist() for name, tags in table.tags.items()} == TAGS
    assert table.missing == []


def test_a_column_without_a_name_is_no_class(read):
    table = read(",image,cat,dog,hot dog\n0,a,1,0,0\n1,d,0,0,1\n")  # as pandas numbers rows
    assert {name: tags.tolist() for name, tags in table.tags.items()} == {
        "a": TAGS["a"],
        "d": TAGS["d"],
    }


def test_rows_of_images_that_do_not_exist_are_kept_apart(read):
    table = read("image,cat,dog,hot dog\na,1,0,0\nelsewhere/z.jpg,0,1,0\n")
    assert list(table.tags) == ["a"]
    assert table.missing == ["elsewhere/z.jpg"]


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", []),
        ("\n\n", []),
        ("image,cat,dog\na,1,0\n", ["hot dog"]),
        ("image,cat,Cat,dog,hot dog\na,1,0,0,0\n", [2, "cat"]),
        ("image,cat,dog,hot dog\na,1,0\n", ["line 2", "a,1,0"]),
        ("image,cat,dog,hot dog\na,1,0,maybe\n", ["line 2", "a,1,0,maybe"]),
        ("image,cat,dog,hot dog\na,1,0,\n", ["line 2"]),
        ("image,cat,dog,hot dog\na,1,0,0\na.jpg,1,0,0\n", ["a", "line 3"]),
        ("image,cat,dog,hot dog,elk\na,1,0,0,1\n", ["elk"]),
        ("image,labels\na,cat\nb c,elk\n", ["line 3", "elk"]),
        ("x y z\n1 2 3\n", ["x y z"]),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_what_was_seen(read, text, facts):
    with raises_naming(InputError, "tags.csv", *facts):
        read(text)


@pytest.mark.parametrize(
    "text", ["image,labels\na,cat\nb c,cat;elk\n", "image,cat,dog,hot dog,elk\nb c,1,0,0,1\n"]
)
def test_a_view_of_some_classes_leaves_other_words_and_columns_out(read, text):
    classes = ClassNames(CLASSES.names, subset=True)
    assert read(text, classes).tags["b c"].tolist() == [1, 0, 0]
    assert classes.skipped == {"elk"}


def test_capitals_decide_between_classes_that_differ_by_them_alone():
    classes = ClassNames(["Cat", "cat", "dog"])
    assert [classes.index(word) for word in ("cat", "Cat", "CAT", "DOG")] == [1, 0, None, 2]


def test_a_dictionary_may_name_images_by_their_files(tmp_path, images):
    path = tmp_path / "tags.npy"
    np.save(path, {"a.jpg": np.array([1, 0, 0]), "images/d": np.array([0, 0, 1])})
    table = read_npy(path, images, CLASSES)
    assert {name: tags.tolist() for name, tags in table.tags.items()} == {
        "a": [1, 0, 0],
        "d": [0, 0, 1],
    }
    np.save(path, {"a.jpg": np.array([1, 0, 0]), "a": np.array([0, 0, 1])})
    with raises_naming(InputError, "tags.npy", "a"):
        read_npy(path, images, CLASSES)
