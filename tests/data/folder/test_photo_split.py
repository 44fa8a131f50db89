"""The validation split: stratified, stable, and without duplicates of training photos."""

from collections import Counter
from pathlib import Path

import pytest
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st
from photo_sets import opened, picture

from wsss_lightning.data.file_facts import Fact
from wsss_lightning.data.folder.folders import class_folders, splits_of_folders
from wsss_lightning.data.folder.photos import Photo, Photos
from wsss_lightning.data.folder.split import group_photos, split_photos
from wsss_lightning.data.folder.split_files import read_split
from wsss_lightning.data.folder.thumbnails import duplicate_pairs, make_thumbnails
from wsss_lightning.errors import InputError


def photo(name: str) -> Photo:
    return Photo(name, f"{name}.jpg", Path(f"{name}.jpg"), Fact(name, 1, 1, 1, False))


def groups_of(count: int) -> list[list[Photo]]:
    return [[photo(f"p{i}")] for i in range(count)]


def test_each_class_has_its_share_in_both_splits():
    groups = groups_of(100)
    tags = {f"p{i}": ["often", *(["seldom"] if i % 10 == 0 else [])] for i in range(100)}
    val = split_photos(groups, tags, (), 0.2, 0)
    assert len(val) == 20
    assert sum("seldom" in tags[name] for name in val) == 2


@given(
    st.lists(st.sets(st.sampled_from("abcd"), max_size=3), min_size=1, max_size=40),
    st.sampled_from([0.1, 0.2, 0.5, 0.9]),
    st.integers(0, 3),
)
def test_every_class_keeps_a_photo_for_training(tag_sets, fraction, seed):
    groups = groups_of(len(tag_sets))
    tags = {f"p{i}": sorted(one) for i, one in enumerate(tag_sets)}
    val = split_photos(groups, tags, (), fraction, seed)
    assert val == split_photos(groups[::-1], tags, (), fraction, seed)  # in any order of photos
    trained = {c for name, classes in tags.items() if name not in val for c in classes}
    assert trained == {c for classes in tags.values() for c in classes}
    for c, count in Counter(c for classes in tags.values() for c in classes).items():
        held = sum(c in tags[name] for name in val)
        assert held <= count - 1


def test_one_more_photo_moves_few_others():
    groups = groups_of(200)
    tags = {f"p{i}": ["abcd"[i % 4]] for i in range(201)}
    before = split_photos(groups, tags, (), 0.2, 0)
    after = split_photos([*groups, [photo("p200")]], tags, (), 0.2, 0)
    assert len(before ^ after) <= 2
    assert before != split_photos(groups, tags, (), 0.2, 1)


def test_a_share_of_zero_and_a_single_photo_give_no_validation_split():
    tags = {f"p{i}": ["a"] for i in range(10)}
    assert split_photos(groups_of(10), tags, (), 0.0, 0) == set()
    assert split_photos(groups_of(1), tags, (), 0.9, 0) == set()
    assert len(split_photos(groups_of(3), tags, (), 0.2, 0)) == 1


def test_groups_stay_together():
    groups = [[photo(f"{i}{c}") for c in "xyz"] for i in range(20)]
    tags = {p.name: ["a"] for group in groups for p in group}
    val = split_photos(groups, tags, (), 0.2, 0)
    assert len(val) == 12
    assert all(len({p.name in val for p in group}) == 1 for group in groups)


def test_photos_with_masks_are_for_validation_where_others_have_none():
    tags = {f"p{i}": ["a"] for i in range(40)}
    masked = [f"p{i}" for i in range(0, 40, 4)]
    assert split_photos(groups_of(40), tags, masked, 0.2, 0) < set(masked)
    assert len(split_photos(groups_of(40), tags, masked, 0.2, 0)) == 8


def test_copies_resized_and_mirrored_photos_are_pairs_and_others_are_not(tmp_path):
    root = tmp_path / "p"
    root.mkdir()
    for i in range(6):
        picture(i, size=(160, 120)).save(root / f"{i}.jpg", quality=95)
    picture(0, size=(160, 120)).resize((80, 60)).save(root / "small.jpg", quality=80)
    picture(1, size=(160, 120)).transpose(0).save(root / "mirrored.png")
    (root / "copy.jpg").write_bytes((root / "2.jpg").read_bytes())
    photos = Photos(root)
    thumbnails, faulty = make_thumbnails(photos.photos, tmp_path / "cache", lambda items, _: items)
    assert faulty == []
    pairs = {frozenset(pair) for pair in duplicate_pairs(photos.photos, thumbnails)}
    assert pairs == {frozenset(p) for p in (("0", "small"), ("1", "mirrored"), ("2", "copy"))}
    sizes = sorted(len(group) for group in group_photos(photos.photos, list(map(tuple, pairs))))
    assert sizes == [1, 1, 1, 2, 2, 2]


def test_thumbnails_are_read_from_the_cache_unless_it_is_damaged(tmp_path):
    photos = opened(tmp_path / "p", ["a.jpg", "b.png"])
    decoded = []

    def count(items, total):
        decoded.append(total)
        return items

    first, _ = make_thumbnails(photos.photos, tmp_path / "cache", count)
    second, _ = make_thumbnails(photos.photos, tmp_path / "cache", count)
    assert decoded == [2, 0]
    assert {k: v.tolist() for k, v in first.items()} == {k: v.tolist() for k, v in second.items()}
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(b"PK damaged")
    make_thumbnails(photos.photos, tmp_path / "cache", count)
    assert decoded == [2, 0, 2]


def test_a_photo_whose_pixels_are_damaged_is_found(tmp_path):
    photos = opened(tmp_path / "p", ["a.png"])
    path = photos.photos[0].path
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)  # within the compressed pixels; the end marker is intact
    path.write_bytes(content)
    _, faulty = make_thumbnails(Photos(path.parent).photos, tmp_path / "c", lambda items, _: items)
    assert [one.name for one, _ in faulty] == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "image,split,tags,reason\na.jpg,train,cat,\nb.jpg,val,dog,\nc.jpg,,,no tag\n",
        "b;Validation\na;training\n",
        "id,set\na.JPG,TRAIN\nb,valid\n",
    ],
)
def test_tables_of_splits_are_read(tmp_path, text):
    photos = opened(tmp_path / "p", ["a.jpg", "b.jpg", "c.jpg"])
    (tmp_path / "split.csv").write_text(text)
    assert read_split(tmp_path / "split.csv", photos) == {"a": "train", "b": "val"}


def test_lists_of_splits_are_read(tmp_path):
    photos = opened(tmp_path / "p", ["a.jpg", "b.jpg", "c.jpg"])
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/train.txt").write_text("a\nc.jpg\n")
    (tmp_path / "lists/val.txt").write_text("b\n")
    expected = {"a": "train", "b": "val", "c": "train"}
    assert read_split(tmp_path / "lists", photos) == expected


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("image,tags\na,cat\nb,dog\n", ["tags", "train, val and test"]),
        ("image,split\na,val\nb,val\n", ["train"]),
        ("image,split\na,val\na.jpg,train\n", ["line 3", "a.jpg", "val"]),
    ],
)
def test_a_table_of_splits_that_cannot_be_used_is_refused(tmp_path, text, facts):
    photos = opened(tmp_path / "p", ["a.jpg", "b.jpg"])
    (tmp_path / "split.csv").write_text(text)
    with raises_naming(InputError, "split.csv", *facts):
        read_split(tmp_path / "split.csv", photos)


def test_folders_name_classes_and_splits(tmp_path):
    names = [
        "images/train/cat/1.jpg",
        "images/train/sea lion/deep/2.jpg",
        "images/train/background/3.jpg",
        "images/valid/cat/4.jpg",
    ]
    photos = opened(tmp_path / "p", names)
    assert list(class_folders(photos).words.values()) == [[], ["cat"], ["sea lion"], ["cat"]]
    assert list(splits_of_folders(photos.photos).values()) == ["train", "train", "train", "val"]


@pytest.mark.parametrize(
    ("names", "facts"),
    [
        (["a.jpg", "b.jpg"], ["tags=FILE", "2 photos"]),
        (["cat/a.jpg", "cat/b.jpg"], ["one folder", "cat", "background"]),
        (["masks/a.png", "cat/b.jpg", "dog/c.jpg"], ["masks"]),
    ],
)
def test_folders_that_name_no_classes_are_refused(tmp_path, names, facts):
    with raises_naming(InputError, *facts):
        class_folders(opened(tmp_path / "p", names))
