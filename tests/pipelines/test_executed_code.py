"""No step runs code that its key does not have: what runs is recorded and compared."""

import functools
import importlib.util
import sys
import threading
from collections import defaultdict
from pathlib import Path

import pytest
from commands import TINY

import wsss_lightning
from wsss_lightning.cache.code_digest import UNHASHED, CodeGraph, Part, targets_in
from wsss_lightning.cache.stage_cache import StageCache

pytestmark = pytest.mark.slow

PACKAGE = Path(wsss_lightning.__file__).parent
RUNS = {
    "cam": ["experiment=cam", "test.crf=true", "fit.segmenter.validate_crf=true"],
    "affinity": ["experiment=seam", "refine=affinity", "pipeline=seeds"],
    "irn": ["experiment=grad_cam", "refine=irn", "refine.crf=null", "pipeline=seeds"],
    "sc_cam": ["experiment=sc_cam", "pipeline.rounds=1", "refine=none", "pipeline.segment=false"],
    "boxes": ["experiment=box", "pipeline.rounds=1"],
}


def unhashed_lines():
    """Lines of what `UNHASHED` leaves out."""
    graph = CodeGraph()
    for name in UNHASHED:
        if importlib.util.find_spec(name.rpartition(".")[0]).submodule_search_locations:
            yield Path(importlib.util.find_spec(name).origin).resolve(), 1, sys.maxsize
        else:
            yield from graph.lines(Part(*name.rsplit(".", 1)))


class Recorder:
    """Where functions of the package begin that run while it is on, by file."""

    def __init__(self):
        self.begun = set()

    def __call__(self, frame, event, _):
        code = frame.f_code
        # a module runs when it is first imported, which is no use of what it defines
        if event == "call" and code.co_name != "<module>":
            self.begun.add((code.co_filename, code.co_firstlineno, code.co_name))

    def __enter__(self):
        threading.setprofile(self)
        sys.setprofile(self)

    def __exit__(self, *_):
        sys.setprofile(None)
        threading.setprofile(None)

    def functions(self):
        """Of the package; not of the code that type checkers and dataclasses generate."""
        return {
            (Path(file).resolve(), line, name)
            for file, line, name in self.begun
            if Path(file).resolve().is_relative_to(PACKAGE)
        }


@pytest.fixture
def recorded(monkeypatch):
    """What each step ran, and the code in its key and in the keys of steps that it reads."""
    found, code_of = {}, {}
    do = StageCache._do

    def recording(self, name, work, inputs, made_of, final):
        recorder = Recorder()

        @functools.wraps(work)
        def watched(*args, **kwargs):
            with recorder:
                work(*args, **kwargs)

        do(self, name, watched, inputs, made_of, final)
        code = self.code.used(work, targets_in(inputs)).union(*(code_of[one] for one in made_of))
        code_of[final.name] = code
        lines = defaultdict(list)
        for part in code:
            for path, first, last in self.code.lines(part):
                lines[path.resolve()].append((first, last))
        found[name] = recorder.functions(), lines

    monkeypatch.setattr(StageCache, "_do", recording)
    return found


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=name, marks=[pytest.mark.long] if name == "irn" else [])
        for name, words in RUNS.items()
    ],
)
def test_all_code_that_a_step_runs_is_in_its_key(here, recorded, words):
    run = here(*words, *TINY)
    assert run.code == 0, run.err
    left_out = list(unhashed_lines())
    for name, (functions, lines) in recorded.items():
        assert functions, name
        missed = {
            f"{path.relative_to(PACKAGE)}:{line} {function}"
            for path, line, function in functions
            if not any(first <= line <= last for first, last in lines[path])
            and not any(p == path and first <= line <= last for p, first, last in left_out)
        }
        assert not missed, name
