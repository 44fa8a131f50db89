"""Kill runs at random moments, repeat their commands, and compare with an undisturbed run.

A kill is SIGKILL to all processes of the run at once. Each trial begins in an empty folder, is
killed, perhaps several times, and is then left to end; scores, every file of every stage and what
checkpoints hold must be those of the undisturbed run.
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

# imported once, before all forks
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
# amid epochs and at their ends; with and without processes that read
HOW = (
    ("workers=0", "checkpoint_minutes=0"),
    ("workers=2", "checkpoint_minutes=0"),
    ("workers=0", "checkpoint_minutes=null"),
    ("workers=2", "checkpoint_minutes=null"),
)


def begin(words: tuple[str, ...], folder: Path) -> int:
    """Start the command line in a process group of its own; its number."""
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
        sys.argv = ["wsss_lightning", *words]
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def whole(words: tuple[str, ...], folder: Path) -> float:
    """Run to the end; seconds."""
    begun = time.monotonic()
    _, status = os.waitpid(begin(words, folder), 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed:\n{(folder / 'log.txt').read_text()[-3000:]}")
    return time.monotonic() - begun


def killed(words: tuple[str, ...], folder: Path, after: float) -> str | None:
    """Run and kill; what was going on, or None where the run ended first."""
    process = begin(words, folder)
    time.sleep(after)
    ended, _ = os.waitpid(process, os.WNOHANG)
    if ended:
        return None
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    unfinished = [p for p in folder.glob("runs/stages/*.partial") if p.is_dir()]
    if not unfinished:
        return "between stages"
    newest = max(unfinished, key=lambda p: p.stat().st_mtime_ns)
    work = newest.name.split("-")[0]
    return f"{work}, with a checkpoint" if (newest / "last.ckpt").is_file() else work


def state(folder: Path) -> dict[str, object]:
    """Scores, links, and every file of every stage, by name."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.name == "results.json":
            found[name] = json.loads(path.read_text())["scores"]
        elif not path.is_file() or _is_aside(path):
            continue
        elif path.suffix == ".ckpt":
            found[name] = _trained(path)
        else:
            found[name] = path.read_bytes()
    # the run's folder is named by its words, of which some say only how
    return {
        name.split("/", 2)[-1] if "/stages/" not in name else name: v for name, v in found.items()
    }


def _is_aside(path: Path) -> bool:
    """Logs, locks, times and Hydra's own files."""
    aside = path.suffix in (".lock", ".log") or path.name in (RECORD, MANIFEST, "log.txt")
    return aside or bool({*LOGS, "hydra"} & set(path.parts))


def _trained(path: Path) -> list[object]:
    """What a checkpoint holds, but for where it lay and how loops counted."""
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


def differences(found: dict[str, object], expected: dict[str, object]) -> list[str]:
    lost = [f"{name} is lost" for name in expected if name not in found]
    more = [f"{name} is left over" for name in found if name not in expected]
    return (
        lost + more + [f"{n} differs" for n in expected if n in found and found[n] != expected[n]]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", nargs="+", default=["cam", "seam", "sc_cam", "box"])
    parser.add_argument("--kills", type=int, default=11, help="of each experiment")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    base = Path(tempfile.mkdtemp(prefix="kill-"))
    os.environ.setdefault("WSSS_CACHE", str(base / "cache"))
    moments: Counter[str] = Counter()
    wrong = 0
    for experiment in asked.experiments:
        words = (f"experiment={experiment}", *TINY, *FEW.get(experiment, ()))
        whole((*words, *HOW[0]), base / "warm")  # makes the data and compiles the CRF
        shutil.rmtree(base / "warm")
        seconds = whole((*words, *HOW[0]), base / experiment)
        expected = state(base / experiment)
        print(f"{experiment}: undisturbed {seconds:.1f} s, {len(expected)} files and links")
        done = trial = 0
        while done < asked.kills:
            folder, how = (
                base / f"{experiment}-{trial}",
                HOW[trial % len(HOW)],
            )
            trial += 1
            # one kill, or two of the same run
            met = []
            for _ in range(min(draw.choice((1, 1, 2)), asked.kills - done)):
                at = killed((*words, *how), folder, draw.uniform(0.05, 0.95) * seconds)
                if at is not None:
                    met.append(at)
            done += len(met)
            moments.update(met)
            whole((*words, *how), folder)
            apart = differences(state(folder), expected)
            wrong += bool(apart)
            told = "; ".join(apart[:5]) if apart else "the same"
            print(f"  killed in {' and '.join(met) or 'nothing'} ({', '.join(how)}): {told}")
            sys.stdout.flush()
            if not apart:
                shutil.rmtree(folder)
    print(
        f"{sum(moments.values())} kills: {', '.join(f'{n} {m}' for m, n in moments.most_common())}"
    )
    print(f"{wrong} runs differ from the undisturbed one")
    if wrong:
        raise SystemExit(f"look in {base}")
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
