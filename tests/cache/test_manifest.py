import os

import pytest

from wsss_lightning.cache import manifest
from wsss_lightning.data import file_facts


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("a", "b", "below/c"):
        (tmp_path / name).write_text(f"content of {name}")
    return tmp_path


def test_a_manifest_lists_bytes_and_digests_of_all_files_but_logs_and_itself(folder):
    (folder / "csv").mkdir()
    for name in ("csv/metrics.csv", "stage.json", "manifest.json"):
        (folder / name).write_text("x")
    listed = manifest.build(folder)
    assert list(listed["files"]) == ["a", "b", "below/c"]
    # BLAKE2b with 16 bytes, as `b2sum -l 128` has it
    assert listed["files"]["a"] == [12, "61a147c94bd4bc78cd13ab350f037096"]
    assert manifest.find_changes(folder, listed) == ({}, False)


def test_the_content_depends_on_names_and_bytes_and_on_no_time(folder):
    before = manifest.content(manifest.build(folder))
    os.utime(folder / "a", (0, 0))
    assert manifest.content(manifest.build(folder)) == before
    (folder / "a").rename(folder / "d")
    assert manifest.content(manifest.build(folder)) != before
    (folder / "d").rename(folder / "a")
    (folder / "a").write_text("Content of a")
    assert manifest.content(manifest.build(folder)) != before


def test_files_whose_times_are_the_same_are_not_read(folder, monkeypatch):
    listed = manifest.build(folder)

    monkeypatch.setattr(manifest, "digests_of", lambda paths: [pytest.fail(p) for p in paths])
    assert manifest.find_changes(folder, listed) == ({}, False)


def test_a_file_that_was_touched_is_read_and_may_be_right(folder):
    listed = manifest.build(folder)
    os.utime(folder / "a", (0, 0))
    assert manifest.find_changes(folder, listed) == ({}, True)
    assert manifest.find_changes(folder, manifest.update_times(folder, listed)) == ({}, False)


def test_more_files_are_no_damage(folder):
    listed = manifest.build(folder)
    (folder / "more").write_text("x")
    assert manifest.find_changes(folder, listed) == ({}, False)


def test_a_large_file_is_read_in_parts(folder, monkeypatch):
    whole = manifest.build(folder)["files"]
    monkeypatch.setattr(file_facts, "CHUNK", 5)
    assert manifest.build(folder)["files"] == whole
