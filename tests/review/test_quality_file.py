"""quality.csv as the page reads it."""

import pytest
from facts import raises_naming

from wsss_lightning.errors import InputError
from wsss_lightning.review.quality import read_quality


@pytest.fixture
def read(tmp_path):
    def call(text: str):
        (tmp_path / "quality.csv").write_text(text)
        return read_quality(tmp_path / "quality.csv")

    return call


def test_images_and_classes_have_their_own_quality(read):
    quality = read("name,class,quality,entropy\na,,0.5,1\na,cat,0.25,2\na,hot dog,1,0\n")
    assert quality.images == {"a": 0.5}
    assert quality.classes == {("a", "cat"): 0.25, ("a", "hot dog"): 1.0}


def test_an_image_without_a_row_has_the_quality_of_its_worst_class(read):
    quality = read("class,name,quality\ncat,a,0.25\ndog,a,0.75\ncat,b,\n")
    assert quality.images == {"a": 0.25}


def test_values_and_columns_that_cannot_be_used_are_named(read):
    with raises_naming(InputError, "quality.csv", "line 2", "a", "1.5", "[0, 1]"):
        read("name,class,quality\na,,1.5\n")
    with raises_naming(InputError, "quality.csv", "good"):
        read("name,class,quality\na,,good\n")
    with raises_naming(InputError, "quality.csv", "class, quality"):
        read("name,score\na,1\n")
