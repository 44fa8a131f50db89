import pytest

from wsss_lightning.data.stage_files import class_file_names, finished_images, image_file
from wsss_lightning.utils.files import write_text

IMAGES = ["0001", "train/0001", "val/a/0001", "img.v2", "[red] x", "with blank"]


def test_images_in_folders_are_written_and_found_by_name(tmp_path):
    for name in IMAGES:
        write_text(image_file(tmp_path, name, ".npz"), name)
    write_text(image_file(tmp_path, "other", ".png"), "of another suffix")
    assert finished_images(tmp_path, ".npz") == set(IMAGES)
    assert image_file(tmp_path, "train/0001", ".npz").read_text() == "train/0001"
    assert finished_images(tmp_path / "absent", ".npz") == set()


def test_plain_class_names_are_kept():
    names = ["cat", "potted plant", "tv-monitor", "Katze", "猫"]
    assert class_file_names(names) == names


@pytest.mark.parametrize(
    "name",
    [
        *("tv/monitor", "[/x]", "[bold]", "..", ".", "CON", "con.x", "", " ", "a\\b", "🐈"),
        *("x" * 300, "猫" * 300, "cat ", "-", "a\nb", "a:b", "nul\0"),
    ],
)
def test_any_class_names_a_file_below_its_folder(tmp_path, name):
    first, second, other = class_file_names([name, f"{name}?", "cat"])
    assert len({first.lower(), second.lower(), other}) == 3
    path = tmp_path / f"{first}.png"
    path.write_text("")
    assert path.parent == tmp_path
    assert [one.name for one in tmp_path.iterdir()] == [f"{first}.png"]
    assert not first.startswith((".", "-"))


def test_classes_that_clean_to_one_name_have_files_of_their_own():
    names = class_file_names(["a/b", "a:b", "a-b", "A-B"])
    assert len({name.lower() for name in names}) == 4
    assert names[2] == "a-b"
    assert class_file_names(["a/b", "a-b"])[0] == class_file_names(["x", "a/b"])[1]


def test_names_of_windows_devices_are_no_names_of_files():
    names = ["CON", "nul.txt", "lpt1"]
    assert not set(class_file_names(names)) & set(names)
