"""The file of decisions: every row that was acknowledged is read again, and damage is named."""

import csv
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.data.review import log as log_module
from wsss_lightning.data.review.decisions import (
    COLUMNS,
    Decision,
    complete_length,
    header,
    now,
    parse_decisions,
    read_decisions,
)
from wsss_lightning.data.review.log import DecisionLog
from wsss_lightning.errors import InputError

BOX = {"id": "b1", "size": [40, 30], "box": [1, 2, 20, 25]}
HEADER = "name,class,decision,detail,time\n"
# names of files may hold nearly anything; bytes that are no text become surrogates
NAMES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    | st.sampled_from(',"\n\r;äß#\udcff'),
    min_size=1,
)


def accept(name: str = "a") -> Decision:
    return Decision(name, "", "accept", {}, now())


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "review.csv"


def test_decisions_are_read_in_the_order_in_which_they_were_appended(path):
    log = DecisionLog(path)
    made = [
        accept(),
        Decision("a", "cat", "box", BOX, now()),
        Decision("b", "cat", "tag", {"present": False}, now()),
        Decision("a", "cat", "box", {"id": "b1", "removed": True}, now()),
    ]
    for decision in made:
        log.append(decision)
    assert log.read() == read_decisions(path) == made
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == COLUMNS
    assert json.loads(rows[2][3]) == BOX


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_any_name_comes_back_as_it_was(names):
    made = [accept(name) for name in names]
    content = header() + b"".join(decision.as_row() for decision in made)
    assert parse_decisions(content, Path("f")) == made


@given(st.lists(NAMES, min_size=2, max_size=3), st.data())
def test_a_row_cut_at_any_byte_costs_no_other_row(names, data):
    rows = [accept(name).as_row() for name in names]
    cut = data.draw(st.integers(0, len(rows[-1]) - 2))  # at least the time is incomplete
    content = header() + b"".join(rows[:-1]) + rows[-1][:cut]
    assert complete_length(content) == len(header()) + sum(map(len, rows[:-1]))
    assert [one.name for one in parse_decisions(content, Path("f"))] == names[:-1]


def test_a_decision_after_a_cut_row_takes_its_place(path):
    log = DecisionLog(path)
    log.append(accept("a"))
    log.append(accept('b "quoted", with\na line break'))
    path.write_bytes(path.read_bytes()[:-30])
    DecisionLog(path).append(accept("c"))
    assert [one.name for one in read_decisions(path)] == ["a", "c"]
    assert [one.name for one in log.read()] == ["a", "c"]


def test_a_row_that_an_editor_left_without_line_break_stays(path):
    path.write_text(HEADER + "a,,reject,{},2026-01-02T03:04:05Z", newline="")
    assert [one.kind for one in read_decisions(path)] == ["reject"]
    DecisionLog(path).append(accept("b"))
    assert [one.name for one in read_decisions(path)] == ["a", "b"]


def test_a_byte_order_mark_and_windows_line_breaks_do_no_harm(path):
    text = "\ufeff" + HEADER.strip() + "\r\nä,,reject,{},2026-01-02T03:04:05Z\r\n"
    path.write_bytes(text.encode())
    DecisionLog(path).append(accept("b"))
    assert [one.name for one in read_decisions(path)] == ["ä", "b"]


def test_programs_and_threads_that_append_at_once_lose_nothing(path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from wsss_lightning.data.review.decisions import Decision, now\n"
        "from wsss_lightning.data.review.log import DecisionLog\n"
        "path, who = Path(sys.argv[1]), sys.argv[2]\n"
        "write = DecisionLog._write\n"  # slow, so that the others come in between
        "DecisionLog._write = lambda *a: (time.sleep(0.005), write(*a))\n"
        "log = DecisionLog(path)\n"
        "path.with_name(who).touch()\n"
        "while not path.with_name('go').exists(): time.sleep(0.001)\n"
        "for i in range(40): log.append(Decision(f'{who}-{i}', '', 'accept', {}, now()))\n"
    )
    programs = [subprocess.Popen([sys.executable, "-c", code, path, who]) for who in "ab"]
    log = DecisionLog(path)
    while not all(path.with_name(who).exists() for who in "ab"):
        assert all(program.poll() is None for program in programs)
        time.sleep(0.01)
    path.with_name("go").touch()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: log.append(accept(f"t-{i}")), range(40)))
    assert [program.wait(60) for program in programs] == [0, 0]
    names = [one.name for one in read_decisions(path)]
    assert sorted(names) == sorted(f"{who}-{i}" for who in "abt" for i in range(40))
    for who in "ab":  # each program's own order
        assert [name for name in names if name.startswith(who)] == [f"{who}-{i}" for i in range(40)]


def test_a_full_disk_leaves_the_file_as_it_was(path, monkeypatch):
    log = DecisionLog(path)
    log.append(accept("a"))
    before = path.read_bytes()
    write = log_module.os.write
    calls = []

    def half(descriptor, data):
        if calls:
            raise OSError(28, "No space left on device")
        calls.append(1)
        return write(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(log_module.os, "write", half)
    with pytest.raises(OSError, match="space"):
        log.append(accept("b"))
    assert path.read_bytes() == before
    monkeypatch.undo()
    log.append(accept("c"))
    assert [one.name for one in read_decisions(path)] == ["a", "c"]


@pytest.mark.parametrize(
    ("row", "facts"),
    [
        ("a,,acept,{},t", ["row 2", "acept", "accept"]),
        ("a,,accept,{},t,more", ["row 2", 6, 5]),
        (",,accept,{},t", ["row 2", "name"]),
        ("a,cat,tag,{},t", ["row 2", "present"]),
        ('a,,tag,"{""present"":true}",t', ["row 2", "tag", "class"]),
        ("a,cat,ignore,{},t", ["row 2", "cat"]),
        ("a,background,box,{},t", ["row 2", "background"]),
        ("a,cat,box,not json,t", ["row 2", "not json"]),
        ("a,cat,box,[],t", ["row 2", "[]"]),
        (
            'a,cat,box,"{""id"":""x"",""size"":[0,3],""box"":[0,0,1,1]}",t',
            ["row 2", "detail.size.0"],
        ),
        (
            'a,cat,scribble,"{""id"":""x"",""size"":[3,3],""points"":[],""width"":2}",t',
            ["row 2", "detail.points"],
        ),
        ('a,cat,box,"{""id"":""x/.."",""removed"":true}",t', ["row 2", "detail.id"]),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_what_is_wrong(path, row, facts):
    path.write_text(HEADER + row + "\n")
    with raises_naming(InputError, path, *facts):
        read_decisions(path)


def test_another_table_is_refused(path):
    path.write_text("image,cat,dog\na,1,0\n")
    with raises_naming(InputError, path, "image,cat,dog", ",".join(COLUMNS)):
        DecisionLog(path)


def test_a_missing_file_is_named_to_readers_and_new_to_writers(path):
    with raises_naming(InputError, path, "wsss-lightning review"):
        read_decisions(path)
    assert DecisionLog(path).read() == []
    with raises_naming(InputError, path.parent, "--out"):
        DecisionLog(path.parent)
