import os
import signal
import sys

import pytest
import torch
from facts import raises_naming

from wsss_lightning.densecrf import pydensecrf_engine as reference
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError

PSA = CRFParameters(80, 13, 3, w1=10, w2=3, iterations=1)


@pytest.fixture
def worker(monkeypatch):
    worker = reference.Worker()
    monkeypatch.setattr(reference, "_worker", lambda: worker)
    yield worker
    worker.stop()


def run():
    image = torch.zeros(3, 4, 3, dtype=torch.uint8)
    return reference.mean_field([image], [torch.zeros(2, 3, 4)], PSA)[0]


@pytest.fixture
def library():
    pytest.importorskip("pydensecrf", reason="the reference is an extra: wsss-lightning[crf]")


def test_a_process_that_dies_costs_one_image(worker, library):
    expected = run()
    os.kill(worker.process.pid, signal.SIGSTOP)  # the next request is written, but not read
    asked = worker._running

    def dies():
        process = asked()
        process.kill()
        process.wait()
        return process

    worker._running = dies
    with pytest.raises(reference.EngineError, match=r"status -9 .*\(3, 4\) pixels"):
        run()
    worker._running = asked
    assert torch.equal(run(), expected)


def test_a_process_serves_many_images(worker, library):
    run()
    first = worker.process.pid
    run()
    assert worker.process.pid == first


def test_an_absent_library_is_named_with_ways_out(worker, monkeypatch, tmp_path):
    (tmp_path / "pydensecrf.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(
        InputError, match=r"pydensecrf; choose auto.*pip install 'wsss-lightning\[crf\]"
    ):
        run()


def test_an_error_of_the_library_is_raised_here(worker, monkeypatch, tmp_path):
    (tmp_path / "pydensecrf").mkdir()
    (tmp_path / "pydensecrf/__init__.py").touch()
    (tmp_path / "pydensecrf/densecrf.py").write_text(
        "print('a word on stdout')\ndef DenseCRF2D(*_):\n    raise ValueError('too hot')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for _ in range(2):  # and the process lives on
        with raises_naming(ValueError, "too hot"):
            run()


def test_a_forked_process_gets_a_worker_of_its_own(monkeypatch):
    mine = reference._worker()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert reference._worker() is not mine


def test_the_worker_needs_none_of_our_packages():
    source = (reference.Path(reference.__file__).parent / "pydensecrf_worker.py").read_text()
    assert "wsss_lightning" not in source
    assert "import torch" not in source
    assert sys.executable
