"""Images per second of one and of several processes: benchmark.py [KEY=VALUE ...] [--trainer ddp]

Runs `experiment=cam pipeline=seeds` once for each number of processes, each with its own
cache, and reads the times of its steps. On the CPU each process has one thread, so that every
process uses one core.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from omegaconf import OmegaConf

from wsss_lightning.results.schema import read_results


def measure(folder: Path, trainer: str, devices: int, overrides: list[str]) -> dict[str, float]:
    """Images per second of training and of computing seeds, including the start of processes."""
    runs = folder / str(devices)
    command = [sys.executable, "-m", "wsss_lightning", "experiment=cam", "pipeline=seeds"]
    command += [f"trainer={trainer}", f"trainer.devices={devices}", "workers=0", *overrides]
    threads = {"OMP_NUM_THREADS": "1"} if trainer == "ddp_cpu" else {}
    subprocess.run(
        [*command, f"output_dir={runs}", f"hydra.run.dir={runs}/run"],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **threads},
    )
    epochs = OmegaConf.load(runs / "run" / "hydra" / "config.yaml").fit.method.max_epochs
    seconds = read_results(runs / "run" / "results.json").seconds
    images = len(list((runs / "run" / "seeds" / "train").glob("*.npz")))
    return {
        "training": images * epochs / seconds["classifier"],
        "seeds": images / seconds["seeds/train"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--trainer", default="ddp_cpu")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2])
    args, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        rates = {n: measure(Path(folder), args.trainer, n, overrides) for n in args.devices}
    first = rates[args.devices[0]]
    print("processes  training: images/s  speed-up  seeds: images/s  speed-up")
    for n, rate in rates.items():
        times = {key: rate[key] / first[key] for key in rate}
        print(
            f"{n:9}  {rate['training']:18.1f}  {times['training']:8.2f}"
            f"  {rate['seeds']:15.1f}  {times['seeds']:8.2f}"
        )


if __name__ == "__main__":
    main()
