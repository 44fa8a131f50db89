import os
import tempfile

import pytest
import torch
from facts import raises_naming

from wsss_lightning.training.checkpoints import AtomicCheckpointIO, is_intact


@pytest.fixture
def path(tmp_path):
    AtomicCheckpointIO().save_checkpoint({"weight": torch.ones(100)}, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_checkpoints_survive_a_round_trip(path):
    assert torch.equal(AtomicCheckpointIO().load_checkpoint(path)["weight"], torch.ones(100))


def test_a_checkpoint_is_not_written_to_the_temporary_folder(path, monkeypatch):
    monkeypatch.setattr(tempfile, "mkstemp", None)
    AtomicCheckpointIO().save_checkpoint({"weight": torch.zeros(100)}, path)
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_a_failed_write_keeps_the_former_checkpoint(path, monkeypatch):
    def full(_descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with raises_naming(OSError, "no space left"):
        AtomicCheckpointIO().save_checkpoint({"weight": torch.zeros(100)}, path)
    assert AtomicCheckpointIO().load_checkpoint(path)["weight"].sum() == 100
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_a_damaged_checkpoint_is_not_intact(path):
    assert is_intact(path)
    content = path.read_bytes()
    at = content.index(torch.ones(100).numpy().tobytes())
    path.write_bytes(content[:at] + b"\x01" + content[at + 1 :])
    assert not is_intact(path)
    path.write_bytes(content[:-10])
    assert not is_intact(path)
    path.unlink()
    assert not is_intact(path)
