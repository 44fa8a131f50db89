import pytest
from facts import raises_naming

from wsss_lightning.data.tag_probabilities import load_probabilities, save_probabilities
from wsss_lightning.errors import InputError


def test_probabilities_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "probabilities.csv"
    classes, values = ["name", 'a "b", c'], {"x/1": [0.0, 1.0], "y, z": [0.123456, 0.5]}
    save_probabilities(path, classes, values)
    assert load_probabilities(path) == {
        name: dict(zip(classes, of_image, strict=True)) for name, of_image in values.items()
    }


@pytest.mark.parametrize(
    "text", [None, "", "name,cat\na\n", "name,cat\na,x\n", "name,cat\na,2\n", "name,cat\na,nan\n"]
)
def test_a_damaged_table_is_named(tmp_path, text):
    path = tmp_path / "probabilities.csv"
    if text is not None:
        path.write_text(text)
    with raises_naming(InputError, path, "delete"):
        load_probabilities(path)
