"""`wsss-lightning review RUN` in a process of its own."""

import re
import signal
import socket
import sys
import urllib.error
import urllib.request

import pytest
from commands import start, there
from facts import assert_names, raises_naming
from review_runs import write_run

from wsss_lightning.cli.verbs import run_command_line
from wsss_lightning.errors import InputError
from wsss_lightning.review import __main__ as command


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("review"))


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read()


def test_the_page_is_served_on_this_machine_until_ctrl_c(run_folder, tmp_path):
    process = start("review", str(run_folder), "--no-browser", folder=tmp_path)
    lines = iter(process.stdout.readline, "")
    address = next(match[0] for line in lines if (match := re.search(r"http://\S+", line)))
    assert address.startswith("http://127.0.0.1:")
    assert len(address.split("/")[3]) >= 32  # the token
    assert b"app.js" in get(address)
    root = address.rpartition("/")[0].rpartition("/")[0]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(f"{root}/api/run")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err == ""
    assert_names(out, f"pseudo.review={run_folder / 'review.csv'}")


def refused(capfd, *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        run_command_line(["review", *words, "--no-browser"])
    assert stop.value.code == 1
    return capfd.readouterr().err


def test_a_port_that_is_taken_or_impossible_is_named(run_folder, capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_names(refused(capfd, str(run_folder), f"--port={port}"), "--port", port)
    assert_names(refused(capfd, str(run_folder), "--port=70000"), "--port", 70000, "[0, 65535]")


def test_a_file_that_holds_no_decisions_is_left_alone(run_folder, capfd, tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text("my notes\n")
    assert_names(refused(capfd, str(run_folder), f"--out={path}"), path)
    assert path.read_text() == "my notes\n"


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with raises_naming(InputError, "fastapi", "pip install 'wsss-lightning[review]'"):
        command.check_packages()


def test_a_review_goes_on_in_the_file_that_made_the_run(tmp_path):
    path = tmp_path / "my review.csv"
    assert command._earlier_file({"pseudo.review": f"'{path}'"}) is None
    path.touch()
    assert command._earlier_file({"pseudo.review": f"'{path}'"}) == path
    assert command._earlier_file({}) is None


def test_the_command_helps_without_pytorch(tmp_path):
    told = there("review", "--help", folder=tmp_path)
    assert told.code == 0
    assert_names(told.out, "--out", "--split", "--port", "--no-browser", "pseudo.review=FILE")
    code = (
        "import sys, wsss_lightning.review.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    assert there(folder=tmp_path, program=("-c", code)).code == 0
