"""The verbs of the command line: what all of them share."""

import importlib
import signal
import subprocess
import sys

import pytest
from commands import start, there
from facts import assert_names, assert_names_none, raises_naming

from wsss_lightning.cli import verbs
from wsss_lightning.cli.help import print_help
from wsss_lightning.cli.parser import verb_parser
from wsss_lightning.cli.verbs import VERBS, Verb, split_verb
from wsss_lightning.errors import InputError
from wsss_lightning.utils import console, interrupts


def parser_of(name: str):
    return importlib.import_module(VERBS[name].module).parser()


@pytest.mark.parametrize("columns", [40, 80, 160])
@pytest.mark.parametrize("name", VERBS)
def test_the_help_of_every_verb_has_one_look_and_fits_the_terminal(name, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = parser_of(name).format_help()
    assert text.startswith(f"usage: wsss-lightning {name}")
    if name not in ("run", "completion"):  # --help of a run is that of the command itself
        assert f"examples:\n  wsss-lightning {name}" in text
    # argparse keeps long names of options in one piece
    assert max(map(len, text.splitlines())) <= max(columns, 60)


def test_long_examples_go_on_in_the_next_line_as_shells_read_them(monkeypatch):
    example = "predict runs/cam photos --out masks"
    monkeypatch.setenv("COLUMNS", "40")
    text = verb_parser("predict", "", [example]).format_help().partition("examples:")[2]
    script = text.replace("wsss-lightning", "echo")
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == example
    assert len(text.strip().splitlines()) == 2


def test_help_fits_the_terminal_and_describes_every_verb(monkeypatch, capsys):
    for columns in (30, 50, 80, 120):
        monkeypatch.setattr(console.console, "width", columns)
        print_help()
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= columns
    text = "\n".join(lines)
    for name, verb in VERBS.items():
        assert_names(text, name, verb.summary, near=100)


def test_neither_help_nor_completion_of_a_verb_imports_pytorch():
    modules = [verb.module for verb in VERBS.values()]
    code = f"import importlib, sys\nfor m in {modules}: importlib.import_module(m).parser()\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("run", [])),
        (["experiment=cam"], ("run", ["experiment=cam"])),
        (["run", "experiment=cam"], ("run", ["experiment=cam"])),
        (["report", "runs", "--out", "x"], ("report", ["runs", "--out", "x"])),
        (["-cd", "conf", "check-data", "a=b"], ("check-data", ["-cd", "conf", "a=b"])),
        (["--help", "report"], ("report", ["--help"])),
        (["help", "report"], ("report", ["--help"])),
        (["help"], ("run", ["--help"])),
        # a value of an option, not a verb
        (["-cd", "report", "experiment=cam"], ("run", ["-cd", "report", "experiment=cam"])),
        (["experiment=cam", "report"], ("run", ["experiment=cam", "report"])),
    ],
)
def test_a_verb_is_found_behind_options(words, expected):
    assert split_verb(words) == expected


def test_help_about_a_misspelt_verb_names_the_nearest():
    with raises_naming(InputError, "repot", "report"):
        split_verb(["help", "repot"])


def test_a_misspelt_option_is_answered_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as stop:
        parser_of("report").parse_args(["--basline=cam"])
    assert stop.value.code == 2
    assert_names(capsys.readouterr().err, "--basline", "--baseline")


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (InputError("size is -1, but must be positive"), ["size", -1]),
        (OSError(28, "No space left on device", "a.png"), ["disk", "a.png"]),
        (MemoryError(), ["memory"]),
    ],
)
def test_an_error_of_the_user_or_the_machine_is_one_line(monkeypatch, capsys, error, facts):
    def main(_):
        raise error

    module = type(sys)("failing_verb")
    module.main = main
    monkeypatch.setitem(sys.modules, "failing_verb", module)
    monkeypatch.setitem(verbs.VERBS, "fail", Verb("failing_verb", ""))
    with pytest.raises(SystemExit) as stop:
        verbs.run_command_line(["fail"])
    assert stop.value.code == 1
    printed = capsys.readouterr().err
    assert_names(printed, "error:", *facts)
    assert_names_none(printed, "Traceback")


def test_a_defect_of_the_package_keeps_its_traceback(monkeypatch):
    module = type(sys)("failing_verb")
    module.main = lambda _: 1 / 0
    monkeypatch.setitem(sys.modules, "failing_verb", module)
    monkeypatch.setitem(verbs.VERBS, "fail", Verb("failing_verb", ""))
    with pytest.raises(ZeroDivisionError):
        verbs.run_command_line(["fail"])


@pytest.mark.parametrize("words", ["--help", "recipes", "recipes seam_voc2012"])
def test_a_reader_that_stops_early_ends_a_command_quietly(words, tmp_path):
    command = f"'{sys.executable}' -m wsss_lightning {words} | head -1"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert len(run.stdout.splitlines()) == 1
    assert run.stderr == ""


@pytest.mark.parametrize(
    ("program", "verb"),
    [("report", "report"), ("recipes", "recipes"), ("doctor", "check-data")],
)
def test_former_names_of_commands_work(program, verb, tmp_path):
    run = there("--help", folder=tmp_path, program=("-m", f"wsss_lightning.{program}"))
    assert run.code == 0, run.err
    assert run.out.startswith(f"usage: wsss-lightning {verb}")


SLOW = """
import sys, time
from wsss_lightning.__main__ import main
from wsss_lightning.cli.parser import verb_parser
from wsss_lightning.cli.verbs import VERBS, Verb

module = type(sys)("slow_verb")
module.main = lambda _: (print("ready", flush=True), time.sleep(60))
sys.modules["slow_verb"] = module
VERBS["slow"] = Verb("slow_verb", "")
main(["slow"])
"""


def test_an_interrupted_verb_says_so_once_and_leaves(tmp_path):
    process = start(folder=tmp_path, program=("-c", SLOW))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == interrupts.EXIT_CODE
    assert printed == interrupts.MESSAGE
