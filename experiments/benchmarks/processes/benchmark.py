"""Images a second of one process and of several: benchmark.py [KEY=VALUE ...] [--trainer ddp]

Runs `experiment=cam pipeline=seeds` once for each number of processes, each with a store of its
own, and takes the seconds of its stages. On the CPU each process has one thread, as if a core
were its device.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from omegaconf import OmegaConf

from wsss_lightning.results.schema import read_results


def measure(folder: Path, trainer: str, devices: int, words: list[str]) -> dict[str, float]:
    """Images a second of training and of making seeds, what it takes to start included."""
    runs = folder / str(devices)
    command = [sys.executable, "-m", "wsss_lightning", "experiment=cam", "pipeline=seeds"]
    command += [f"trainer={trainer}", f"trainer.devices={devices}", "workers=0", *words]
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
    told, words = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {n: measure(Path(folder), told.trainer, n, words) for n in told.devices}
    first = found[told.devices[0]]
    print("processes  training: images/s  times  seeds: images/s  times")
    for n, rate in found.items():
        times = {key: rate[key] / first[key] for key in rate}
        print(
            f"{n:9}  {rate['training']:18.1f}  {times['training']:5.2f}"
            f"  {rate['seeds']:15.1f}  {times['seeds']:5.2f}"
        )


if __name__ == "__main__":
    main()
