"""Runs from Python, and the scores of finished runs as a table.

`wsss_lightning` exports these functions.
"""

import codecs
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from wsss_lightning.cli.handover import VARIABLE
from wsss_lightning.errors import InputError
from wsss_lightning.report.runs import RunResult, find_runs
from wsss_lightning.results.schema import FILE_NAME, Results, read_results

GRACE: Final = 15.0  # seconds in which an interrupted run may end
LAST_LINES: Final = 20  # lines of the output in the error of a crashed run


def run(
    experiment: str,
    data: str | None = None,
    overrides: Sequence[str] = (),
    *,
    config_dir: str | Path | None = None,
    show_output: bool = True,
) -> RunResult:
    """Train and evaluate, as the command `wsss-lightning experiment=... data=...` does.

    The command runs in a process of its own, because a run claims what a process has once: Hydra's
    global state, signal handlers, environment variables of distributed training and GPU memory. A
    notebook can therefore repeat runs, and interrupt one without losing its variables. Files,
    folders and caching are those of the command: repeating a call reuses finished stages.

    Args:
        experiment: name of an experiment, such as `seam`.
        data: name of a data set, such as `folder`; None: the one of the experiment.
        overrides: further arguments of the command, such as `seed=1` or `data.root=PHOTOS`.
        config_dir: folder of your own configuration files.
        show_output: show the output of the command while it runs.

    Returns:
        Folder and results of the run: `.folder`, `.scores`, `.results`.

    Raises:
        InputError: an argument or the data cannot be used; the message is that of the command.
        RuntimeError: the command crashed, or was killed.
        KeyboardInterrupt: the run was interrupted; call again to resume it.
    """
    if {"-m", "--multirun"} & set(overrides):
        raise InputError(
            "overrides has -m, which starts several runs, but run returns one; call "
            "wsss_lightning.sweep, without -m."
        )
    arguments = _arguments(experiment, data, overrides, config_dir)
    folders = _finished(_execute(arguments, show_output), arguments)
    return _read(folders[0])


def sweep(
    experiment: str,
    data: str | None = None,
    overrides: Sequence[str] = (),
    *,
    config_dir: str | Path | None = None,
    show_output: bool = True,
) -> list[RunResult]:
    """Run every combination of several values, as the command does with `-m`.

    Args:
        experiment: one or several experiments, as in `cam,seam`.
        data: one or several data sets; None: those of the experiments.
        overrides: as in `run`; a key may have several values, as in `seed=0,1,2`.
        config_dir: as in `run`.
        show_output: as in `run`.

    Returns:
        Folders and results of the runs, in the order of the sweep.

    Raises:
        InputError: as in `run`, or runs of the sweep failed; the message says which and why.
        RuntimeError, KeyboardInterrupt: as in `run`.
    """
    rest = [override for override in overrides if override not in ("-m", "--multirun")]
    arguments = [*_arguments(experiment, data, rest, config_dir), "-m"]
    return [_read(one) for one in _finished(_execute(arguments, show_output), arguments)]


def results(path: str | Path | Iterable[str | Path]) -> list[dict[str, Any]]:
    """Scores of finished runs as a tidy table, one row per score.

    `pandas.DataFrame(results("runs"))` is a table to filter, group and plot.

    Args:
        path: folder of a run, a folder with runs below it, or several.

    Returns:
        Rows with the columns

        - `run`: folder of the run; `experiment`, `data`, `seed`, `supervision`;
        - `round`: round of a method that works in rounds; None: the run's final score;
        - `step`, `split`: what was scored, such as `seeds` and `train`;
        - `metric`: such as `miou` or `iou`; `class`: of an `iou`, else None;
        - `value`: shares such as mIoU in [0, 1]; NaN where the run has no number;
        - `images`: number of scored images of the split; None: unknown;
        - `true_masks`: digest; scores of one split are comparable if it is equal;
        - `initial_weights`: file name of the first network's initial weights, `hub`, or `random`;
        - `overrides`: arguments of the command, separated by blanks.

    Raises:
        InputError: a folder does not exist, has no results, or a results.json is damaged.
    """
    paths = [path] if isinstance(path, (str, Path)) else list(path)
    runs = find_runs(Path(one).expanduser() for one in paths)
    return [row for one in runs for row in _rows(one)]


def _rows(one: RunResult) -> list[dict[str, Any]]:
    """Rows of one run."""
    content = one.results
    common = {
        "run": str(one.folder),
        "experiment": content.experiment,
        "data": content.data,
        "seed": content.seed,
        "supervision": content.supervision,
    }
    return [
        common | _score(key, value) | _protocol(content, key)
        for key, value in content.scores.items()
    ]


def _score(key: str, value: Any) -> dict[str, Any]:
    """Columns of a score with the key `[round_N/]<step>/<split>/<metric>`."""
    round_, step, split, metric = _parts(key)
    name, _, label = metric.partition("_") if metric.startswith("iou_") else (metric, "", None)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {
        "round": round_,
        "step": step,
        "split": split,
        "metric": name,
        "class": label,
        "value": float(value) if number else math.nan,
    }


def _parts(key: str) -> tuple[int | None, str, str, str]:
    """Round, step, split and metric of a score."""
    first = re.match(r"round_(\d+)/", key)
    step, split, metric = key[first.end() if first else 0 :].split("/", 2)
    return int(first[1]) if first else None, step, split, metric


def _protocol(content: Results, key: str) -> dict[str, Any]:
    """Columns that say whether two scores are comparable."""
    scored = (content.protocol.scored_splits or {}).get(_parts(key)[2])
    return {
        "images": scored.images if scored else None,
        "true_masks": content.protocol.true_masks_digest,
        "initial_weights": content.protocol.initial_weights,
        "overrides": " ".join(content.overrides),
    }


def _arguments(
    experiment: str, data: str | None, overrides: Sequence[str], config_dir: str | Path | None
) -> list[str]:
    """Arguments of the command.

    Raises:
        InputError: the overrides are one text instead of a list.
    """
    if isinstance(overrides, str):
        raise InputError(f'overrides is the text {overrides!r}, but must be a list: ["seed=1"]')
    options = [] if config_dir is None else ["--config-dir", str(config_dir)]
    chosen = [f"experiment={experiment}", *([] if data is None else [f"data={data}"])]
    return [*options, *chosen, *map(str, overrides)]


def _execute(arguments: Sequence[str], show_output: bool) -> dict[str, Any]:
    """Run the command and wait for its end.

    Returns:
        What the command handed over: `folders`, `error`, or nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "handover.json"
        # a terminal is passed on, with its progress bars; elsewhere, as in notebooks, output is
        # copied to `sys.stdout`, which is no file of the operating system there
        is_terminal = show_output and sys.stdout.isatty() and sys.stdout is sys.__stdout__
        process = subprocess.Popen(
            [sys.executable, "-m", "wsss_lightning", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=None if is_terminal else subprocess.PIPE,
            stderr=None if is_terminal else subprocess.STDOUT,
            env={
                **os.environ,
                VARIABLE: str(file),
                "PYTHONUNBUFFERED": "1",
                # modules that this process can import
                "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
            },
        )
        try:
            output = "" if is_terminal else _copy(process, show_output)
            code = process.wait()
        except KeyboardInterrupt:
            _interrupt(process)
            raise
        finally:
            if process.poll() is None:
                process.kill()
        told: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    if code == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    if code and "error" not in told:
        lines = "\n".join(output.splitlines()[-LAST_LINES:])
        how = (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        raise RuntimeError(f"wsss-lightning {' '.join(arguments)} {how}\n{lines}".rstrip())
    return told


def _copy(process: "subprocess.Popen[bytes]", show: bool) -> str:
    """Copy the output of a process to `sys.stdout` until it ends.

    Returns:
        All of the output.
    """
    assert process.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    parts = []
    with process.stdout as pipe:
        while content := os.read(pipe.fileno(), 4096):
            parts.append(decoder.decode(content))
            if show:
                sys.stdout.write(parts[-1])
                sys.stdout.flush()
    return "".join(parts)


def _interrupt(process: "subprocess.Popen[bytes]") -> None:
    """End a process after Ctrl-C, which a terminal sends to both processes, a notebook to one."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(1)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def _finished(told: dict[str, Any], arguments: Sequence[str]) -> list[Path]:
    """Folders of the runs.

    Raises:
        InputError: the command reported an error, or ran nothing.
    """
    if "error" in told:
        raise InputError(told["error"])
    if not told.get("folders"):
        raise InputError(
            f"{' '.join(arguments)} started no run; leave out options that only print, such as "
            "--cfg or --help."
        )
    return [Path(folder) for folder in told["folders"]]


def _read(folder: Path) -> RunResult:
    return RunResult(folder, read_results(folder / FILE_NAME))
