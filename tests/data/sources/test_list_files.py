"""Lists as people and tools write them."""

import pytest
from facts import assert_names, raises_naming
from PIL import Image

from wsss_lightning.data.sources.lists import list_path, read_list
from wsss_lightning.data.sources.names import ImageIndex
from wsss_lightning.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """`folder(*files)`: images of these paths below JPEGImages, and their index."""

    def make(*files: str) -> ImageIndex:
        for file in files:
            path = tmp_path / "JPEGImages" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (2, 2)).save(path, format="JPEG")
        return ImageIndex(tmp_path / "JPEGImages", tmp_path / "SegmentationClass")

    return make


@pytest.fixture
def listed(tmp_path):
    def read(index: ImageIndex, content: str | bytes):
        path = tmp_path / "train.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_list(path, index)

    return read


def names(listed) -> list[str]:
    return [name for name, _ in listed.images]


@pytest.mark.parametrize(
    "written",
    [
        "my photo (2)",
        "my photo (2).jpg",
        "MY PHOTO (2).JPG",
        "./JPEGImages/my photo (2).jpg",
        ".\\JPEGImages\\my photo (2).jpg",
        "C:\\data\\JPEGImages\\my photo (2).jpg",
        "/JPEGImages/my photo (2).jpg /SegmentationClassAug/my photo (2).png",
        "JPEGImages/my photo (2).jpg\tSegmentationClass/my photo (2).png",
        "my photo (2).png",  # another suffix, but no other file of this name
        "  my photo (2)  ",
        '"my photo (2)"',
        "my photo (2) my photo (2)",  # of the image and of its mask
        "/JPEGImages/my photo (2).jpg /SegmentationClass/my photo (2).png 1 0 0",
    ],
)
def test_a_name_with_blanks_is_found_however_its_path_is_written(folder, listed, written):
    found = listed(folder("my photo (2).jpg", "my.jpg"), written)
    assert names(found) == ["my photo (2)"]
    assert found.missing == []


def test_a_line_is_never_cut_at_a_blank_to_find_another_image(folder, listed):
    assert listed(folder("a.jpg"), "a copy\n").missing == ["a copy"]


def test_a_number_behind_a_name_that_is_not_there_leaves_no_image_out(folder, listed):
    found = listed(folder("a.jpg"), "a 1\nb -1\nc 0 0\n")
    assert names(found) == ["a"]
    assert found.missing == ["b -1", "c 0 0"]


def test_a_class_list_of_voc_gives_the_images_that_show_the_class(folder, listed):
    index = folder("a.jpg", "b.jpg", "c 1.jpg", "d.jpg", "e.jpg")
    found = listed(index, "a  1\nb -1\nc 1 -1\nc 1\nd\t0\ne +1\n")
    # `c 1` is the name of an image
    assert names(found) == ["a", "c 1", "e"]
    assert_names(found.notes[0], 2, 1, "2 with -1", "1 with 0")

    with raises_naming(InputError, 0, -1):
        listed(index, "a -1\nb 0\n")


def test_images_of_sub_folders_keep_their_folder_as_part_of_their_name(folder, listed):
    index = folder("train/0001.jpg", "val/0001.jpg", "val/0002.jpg")
    assert names(listed(index, "val/0001\ntrain/0001.jpg\nval\\0002.jpg\n")) == [
        "val/0001",
        "train/0001",
        "val/0002",
    ]
    assert names(listed(index, "0002\n")) == ["val/0002"]
    with raises_naming(InputError, "line 1", "0001", "train/0001.jpg", "val/0001.jpg"):
        listed(index, "0001\n")
    assert listed(index, "test/0002\n").missing == ["test/0002"]  # of another folder


def test_composed_and_decomposed_names_are_the_same(folder, listed):
    composed, decomposed = "K\u00e4se", "Ka\u0308se"
    assert names(listed(folder(f"{composed}.jpg"), decomposed)) == [composed]
    assert names(listed(folder(f"{decomposed}2.jpg"), f"{composed}2")) == [f"{composed}2"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lists_are_read_in_the_encodings_of_windows_and_with_any_line_ends(
    folder, listed, encoding, end
):
    index = folder("K\u00e4se 1.jpg", "b.jpg")
    found = listed(index, f"K\u00e4se 1.jpg{end}{end}b{end}".encode(encoding))
    assert names(found) == ["K\u00e4se 1", "b"]


def test_capitals_decide_where_two_images_differ_by_them_alone(folder, listed):
    index = folder("a.jpg", "A.jpg")
    assert names(listed(index, "A\n")) == ["A"]
    assert names(listed(folder("IMG_7.JPG"), "img_7\n")) == ["IMG_7"]


@pytest.mark.parametrize("suffix", ["tif", "bmp", "webp", "jfif", "jpe", "JPEG", "gif", "TIFF"])
def test_images_of_all_formats_that_pillow_reads_are_found(folder, listed, suffix):
    assert names(listed(folder(f"a.{suffix}"), "a\n")) == ["a"]


def test_a_format_that_is_not_read_is_named(folder):
    index = folder("a.heic", "b.jpg")
    assert "a.heic" in index.why_absent("a")
    assert "a.heic" in index.why_absent("a.heic")


def test_hidden_files_and_links_that_lead_back_are_skipped(folder, listed, tmp_path):
    folder("x/a.jpg", "x/._a.jpg")
    (tmp_path / "JPEGImages/x/back").symlink_to(tmp_path / "JPEGImages")
    index = ImageIndex(tmp_path / "JPEGImages", tmp_path / "masks")
    assert names(listed(index, "a\n")) == ["x/a"]


def test_a_path_above_the_folder_of_images_is_not_followed(folder, listed):
    assert listed(folder("a.jpg"), "../JPEGImages/../a.jpg\n").missing == ["../JPEGImages/../a.jpg"]


def test_a_split_whose_list_is_null_does_not_exist(tmp_path):
    with raises_naming(InputError, "val", "train"):
        list_path(tmp_path, "val", {"train": "a.txt", "val": None})
