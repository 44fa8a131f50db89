"""Kill runs at random moments, repeat their commands, and compare with an uninterrupted run.

A kill sends SIGKILL to all processes of the run at once. Each trial starts in an empty folder, is
killed once or twice, and then runs to the end. Scores, every file of every step and the state in
checkpoints must equal those of an uninterrupted run.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

# imported once, before the first fork
from wsss_lightning import pipelines, refiners, steps  # noqa: F401
from wsss_lightning.cache.manifest import LOGS, MANIFEST, RECORD
from wsss_lightning.cli import run as cli

torch.set_num_threads(1)
TINY = (
    "data.generate.num_train=12",
    "data.generate.num_val=6",
    "data.generate.size=64",
    "data.crop_size=64",
    "data.long_side=[48,80]",
    "backbone=resnet18",
    "backbone.name=test_resnet",
    "fit.method.max_epochs=2",
    "fit.segmenter.max_epochs=2",
    "fit.method.batch_size=4",
    "fit.segmenter.batch_size=4",
    "cam.scales=[1.0]",
    "cam.long_side=64",
    "num_previews=2",
    "trainer=cpu",
)
FEW = {
    "sc_cam": ("pipeline.rounds=1",),
    "box": ("pipeline.rounds=1", "pipeline.epochs=1", "pipeline.min_change=null"),
}
# checkpoints after every step and after every epoch; with and without workers
SETTINGS = (
    ("workers=0", "checkpoint_minutes=0"),
    ("workers=2", "checkpoint_minutes=0"),
    ("workers=0", "checkpoint_minutes=null"),
    ("workers=2", "checkpoint_minutes=null"),
)


def begin(overrides: tuple[str, ...], folder: Path) -> int:
    """Start the command line in its own process group; return the process ID."""
    folder.mkdir(parents=True, exist_ok=True)
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = ["wsss_lightning", *overrides]
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def whole(overrides: tuple[str, ...], folder: Path) -> float:
    """Run to the end; return the seconds."""
    start = time.monotonic()
    _, status = os.waitpid(begin(overrides, folder), 0)
    if status:
        raise SystemExit(
            f"{' '.join(overrides)} failed:\n{(folder / 'log.txt').read_text()[-3000:]}"
        )
    return time.monotonic() - start


def killed(overrides: tuple[str, ...], folder: Path, after: float) -> str | None:
    """Start a run and kill it.

    Returns:
        The step that was interrupted, or None if the run ended first.
    """
    process = begin(overrides, folder)
    time.sleep(after)
    ended, _ = os.waitpid(process, os.WNOHANG)
    if ended:
        return None
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    unfinished = [p for p in folder.glob("runs/stages/*.partial") if p.is_dir()]
    if not unfinished:
        return "between steps"
    newest = max(unfinished, key=lambda p: p.stat().st_mtime_ns)
    work = newest.name.split("-")[0]
    return f"{work}, with a checkpoint" if (newest / "last.ckpt").is_file() else work


def state(folder: Path) -> dict[str, object]:
    """Scores, links, and the content of every file of every step, by name."""
    contents: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            contents[name] = str(path.readlink())
        elif path.name == "results.json":
            contents[name] = json.loads(path.read_text())["scores"]
        elif not path.is_file() or _is_aside(path):
            continue
        elif path.suffix == ".ckpt":
            contents[name] = _trained(path)
        else:
            contents[name] = path.read_bytes()
    # the name of the run's folder depends on overrides that do not change results
    return {
        name.split("/", 2)[-1] if "/stages/" not in name else name: v
        for name, v in contents.items()
    }


def _is_aside(path: Path) -> bool:
    """Whether a file is a log, a lock, a record of times or one of Hydra's files."""
    aside = path.suffix in (".lock", ".log") or path.name in (RECORD, MANIFEST, "log.txt")
    return aside or bool({*LOGS, "hydra"} & set(path.parts))


def _trained(path: Path) -> list[object]:
    """The state in a checkpoint, without paths and loop counters."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    keys = ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers")
    return [repr_of(stored[key]) for key in keys]


def repr_of(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return [(key, repr_of(item)) for key, item in sorted(value.items(), key=str)]
    if isinstance(value, (list, tuple)):
        return [repr_of(item) for item in value]
    return value


def differences(contents: dict[str, object], expected: dict[str, object]) -> list[str]:
    lost = [f"{name} is missing" for name in expected if name not in contents]
    more = [f"{name} is extra" for name in contents if name not in expected]
    return (
        lost
        + more
        + [f"{n} differs" for n in expected if n in contents and contents[n] != expected[n]]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", nargs="+", default=["cam", "seam", "sc_cam", "box"])
    parser.add_argument("--kills", type=int, default=11, help="of each experiment")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    base = Path(tempfile.mkdtemp(prefix="kill-"))
    os.environ.setdefault("WSSS_CACHE", str(base / "cache"))
    moments: Counter[str] = Counter()
    wrong = 0
    for experiment in args.experiments:
        overrides = (f"experiment={experiment}", *TINY, *FEW.get(experiment, ()))
        whole((*overrides, *SETTINGS[0]), base / "warm")  # generates the data and compiles the CRF
        shutil.rmtree(base / "warm")
        seconds = whole((*overrides, *SETTINGS[0]), base / experiment)
        expected = state(base / experiment)
        print(f"{experiment}: uninterrupted {seconds:.1f} s, {len(expected)} files and links")
        done = trial = 0
        while done < args.kills:
            folder, how = (
                base / f"{experiment}-{trial}",
                SETTINGS[trial % len(SETTINGS)],
            )
            trial += 1
            # one kill, or two of the same run
            kills = []
            for _ in range(min(draw.choice((1, 1, 2)), args.kills - done)):
                at = killed((*overrides, *how), folder, draw.uniform(0.05, 0.95) * seconds)
                if at is not None:
                    kills.append(at)
            done += len(kills)
            moments.update(kills)
            whole((*overrides, *how), folder)
            apart = differences(state(folder), expected)
            wrong += bool(apart)
            outcome = "; ".join(apart[:5]) if apart else "the same"
            print(f"  killed in {' and '.join(kills) or 'nothing'} ({', '.join(how)}): {outcome}")
            sys.stdout.flush()
            if not apart:
                shutil.rmtree(folder)
    print(
        f"{sum(moments.values())} kills: {', '.join(f'{n} {m}' for m, n in moments.most_common())}"
    )
    print(f"{wrong} runs differ from the uninterrupted one")
    if wrong:
        raise SystemExit(f"the folders are in {base}")
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
