"""Facts of image files are remembered until the file changes."""

import os

import numpy as np
import pytest
from facts import assert_names
from PIL import Image

from wsss_lightning.data import file_facts
from wsss_lightning.data.file_facts import Fact, FileFacts
from wsss_lightning.errors import InputError


@pytest.fixture
def path(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (6, 4)).save(tmp_path / "images/a.bmp")
    return tmp_path / "images/a.bmp"


@pytest.fixture
def fact(path, tmp_path):
    """`fact()`: of the file, by a new process."""
    return lambda: FileFacts(path.parent, tmp_path / "cache").of([path])[path]


def test_a_fact_is_the_digest_and_header_of_a_file(fact, path):
    found = fact()
    assert isinstance(found, Fact)
    assert found.header.upright == (4, 6)
    assert found.digest == file_facts.digests_of([path])[0]


def test_a_file_that_has_not_changed_is_not_read_again(fact, monkeypatch):
    before = fact()
    monkeypatch.setattr(file_facts, "_read", lambda path: pytest.fail("read again"))
    assert fact() == before


def test_pixels_changed_in_place_are_noticed_though_length_and_time_stay(fact, path):
    before, stat = fact(), path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    with path.open("r+b") as file:  # the same inode
        file.write(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        stat.st_size,
        stat.st_mtime_ns,
        stat.st_ino,
    )
    assert fact().digest != before.digest


def test_a_file_that_takes_the_place_of_another_is_noticed(fact, path):
    before, stat = fact(), path.stat()
    Image.fromarray(np.full((4, 6, 3), 9, np.uint8)).save(path.with_suffix(".new"), "BMP")
    os.utime(path.with_suffix(".new"), ns=(stat.st_atime_ns, stat.st_mtime_ns))
    path.with_suffix(".new").replace(path)
    assert path.stat().st_size == stat.st_size
    assert fact().digest != before.digest


def test_a_file_that_cannot_be_used_has_its_error_and_is_looked_at_again(fact, path):
    path.write_bytes(b"nothing")
    error = fact()
    assert isinstance(error, InputError)
    assert_names(error, "a.bmp")
    Image.new("RGB", (6, 4)).save(path)
    assert isinstance(fact(), Fact)
    path.unlink()
    assert_names(fact(), "a.bmp")


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 0, "files": {}}', '{"format": 1}'])
def test_a_damaged_store_of_facts_is_made_again(fact, tmp_path, content):
    before = fact()
    (stored,) = tmp_path.glob("cache/files/*.json")
    stored.write_text(content)
    assert fact() == before


def test_facts_are_found_without_a_place_to_store_them(path, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    found = FileFacts(path.parent, tmp_path / "cache").of([path])[path]
    assert isinstance(found, Fact)
