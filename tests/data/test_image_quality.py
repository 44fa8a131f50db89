import pytest
from facts import raises_naming

from wsss_lightning.data.image_quality import image_quality
from wsss_lightning.errors import InputError


def test_rows_without_a_class_hold_the_quality_of_images(tmp_path):
    path = tmp_path / "quality.csv"
    path.write_text('quality,name,entropy,class\n0.5,"a, b",9,\n0.9,"a, b",9,cat\n1,c/d,,\n')
    assert image_quality(path) == {"a, b": 0.5, "c/d": 1.0}


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("name,class,score\na,,1\n", ["quality", "score"]),
        ("", ["name, class, quality"]),
        ("name,class,quality\na,,1.5\n", ["a", "1.5", "[0, 1]"]),
        ("name,class,quality\na,,nan\n", ["a", "nan", "[0, 1]"]),
        ("name,class,quality\na,,\n", ["a", "empty"]),
        (None, []),
    ],
)
def test_an_unusable_table_is_named_with_what_it_lacks(tmp_path, text, facts):
    path = tmp_path / "quality.csv"
    if text is not None:
        path.write_text(text)
    with raises_naming(InputError, path, *facts):
        image_quality(path)
