"""Which files of a folder are photos, and how they are called."""

import os

import pytest
from facts import assert_names, raises_naming
from hypothesis import given
from hypothesis import strategies as st
from photo_sets import opened, write_photos

from wsss_lightning.data.folder.photos import Photos, unique_names
from wsss_lightning.errors import InputError


def test_photos_of_all_names_are_found_and_system_files_are_not(tmp_path):
    names = ["IMG 1.JPG", "sub dir/ü, b.png", "#3.webp", 'q "4".gif', "e.v2.jpeg"]
    root = write_photos(tmp_path / "p", [*names, ".hidden.jpg", "__MACOSX/x.jpg", "@eaDir/y.jpg"])
    (root / "Thumbs.db").write_bytes(b"x")
    (root / "tags.csv").write_text("x")
    photos = Photos(root)
    assert sorted(photo.relative for photo in photos.photos) == sorted(names)
    assert photos.skipped == []
    assert {photo.name for photo in photos.photos} == {n.rpartition(".")[0] for n in names}


def test_files_that_cannot_be_read_are_kept_with_the_reason(tmp_path):
    root = write_photos(tmp_path / "p", ["a.jpg", "cut.jpg"])
    (root / "cut.jpg").write_bytes((root / "cut.jpg").read_bytes()[:300])
    (root / "text.png").write_text("no image")
    (root / "IMG_1.HEIC").write_bytes(b"x")
    photos = Photos(root)
    assert [photo.relative for photo in photos.photos] == ["a.jpg"]
    reasons = {one.relative: one.reason for one in photos.skipped}
    assert set(reasons) == {"cut.jpg", "text.png", "IMG_1.HEIC"}
    assert_names(reasons["IMG_1.HEIC"], ".heic", "JPEG")
    assert not any(str(root) in reason for reason in reasons.values())
    assert photos.is_skipped("img_1.heic")
    assert photos.is_skipped("some/where/cut")
    assert not photos.is_skipped("a.jpg")


def test_folders_of_masks_and_runs_are_left_out(tmp_path):
    root = write_photos(tmp_path / "p", ["a.jpg", "runs/cam/b.png", "masks/a.png", "masks2/c.png"])
    photos = Photos(root, without=[root / "runs", root / "masks", tmp_path / "elsewhere", root])
    assert [photo.relative for photo in photos.photos] == ["a.jpg", "masks2/c.png"]


def test_equal_names_keep_their_suffix(tmp_path):
    photos = opened(tmp_path / "p", ["a.jpg", "a.png", "b.JPG", "b.jpg", "c.jpg"])
    assert {photo.relative: photo.name for photo in photos.photos} == {
        "a.jpg": "a.jpg",
        "a.png": "a.png",
        "b.JPG": "b.JPG",
        "b.jpg": "b.jpg 2",
        "c.jpg": "c",
    }
    assert [photo.relative for photo in photos.find("b.jpg")] == ["b.jpg"]
    assert [photo.relative for photo in photos.find("b.JPG")] == ["b.JPG"]
    with raises_naming(InputError, "tags.csv", "a.jpg", "a.png"):
        photos.match("a", "tags.csv")


PARTS = st.text(st.sampled_from("aAä. \n#,\u2028\ufeff"), min_size=1, max_size=4)


@given(st.lists(st.tuples(PARTS, st.sampled_from([".jpg", ".JPG", ".png"])), unique=True))
def test_names_are_unique_without_case_and_fit_into_a_line(paths):
    relatives = ["".join(path) for path in paths if not "".join(path).startswith(".")]
    names = unique_names(relatives)
    assert list(names) == relatives
    folded = [name.casefold() for name in names.values()]
    assert len(set(folded)) == len(folded)
    for name in names.values():
        assert len(name.splitlines()) == 1
        assert name == name.strip()


def test_a_name_that_is_not_unicode_is_readable_afterwards(tmp_path):
    root = write_photos(tmp_path / "p", ["a.jpg"])
    (root / "a.jpg").rename(root / os.fsdecode(b"caf\xe9.jpg"))
    (photo,) = Photos(root).photos
    photo.name.encode("utf-8")


@pytest.mark.parametrize(
    ("make", "facts"),
    [
        (lambda root: None, ["missing"]),
        (lambda root: root.write_text("x"), ["a file"]),
        (lambda root: root.mkdir(), ["is empty", ".jpg"]),
        (lambda root: (root.mkdir(), (root / "a.txt").write_text("x")), ["a.txt"]),
        (lambda root: (root.mkdir(), (root / "a.heic").write_text("x")), ["a.heic", "JPEG"]),
    ],
)
def test_a_folder_without_photos_is_refused(tmp_path, make, facts):
    make(tmp_path / "p")
    with raises_naming(InputError, tmp_path / "p", *facts):
        Photos(tmp_path / "p")
