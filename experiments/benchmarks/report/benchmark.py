"""Measure time and size of the report of many runs.

python experiments/benchmarks/report/benchmark.py --methods 40 --seeds 5 --images 1000
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from synthetic import write_runs

from wsss_lightning.report.__main__ import main as report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000)
    args = parser.parse_args()
    skills = {
        f"cam method.lr={i}": skill for i, skill in enumerate(np.linspace(0.5, 2, args.methods))
    }
    with tempfile.TemporaryDirectory() as folder:
        write_runs(Path(folder) / "runs", skills, args.seeds, args.images)
        out = Path(folder) / "report.html"
        start = time.perf_counter()
        report([str(Path(folder) / "runs"), "--out", str(out)])
        seconds = time.perf_counter() - start
        megabytes = out.stat().st_size / 1e6
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{args.methods * args.seeds} runs of {args.images} images: {seconds:.1f} s, "
        f"{megabytes:.2f} MB, {memory:.1f} GB peak memory"
    )


if __name__ == "__main__":
    main()
