"""Compare our random walk with the official formulation: maps, time and memory.

    python experiments/benchmarks/walk/benchmark.py --grids 47x63 94x125

The official codes of PSA and IRN build the matrix of all pixels, raise its entries to beta, divide
by the sums of its columns, square it log2(steps) times and multiply the maps. Affinities are
random, and as smooth as those of an image. Each method runs in its own process, which measures the
time from affinities to final maps and the peak memory beyond that of libraries and inputs.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lightning.ops.affinity import feature_affinity, half_disc
from wsss_lightning.ops.random_walk import random_walk

RADIUS, BETA = 5, 8.0


def draw(size: tuple[int, int], maps: int) -> tuple[Tensor, Tensor]:
    """Maps (1 k h w) and affinities (1 n h w) of smooth features."""
    torch.manual_seed(0)
    coarse = torch.randn(1, 16, size[0] // 6 + 1, size[1] // 6 + 1)
    features = F.interpolate(coarse, size=size, mode="bicubic")
    return torch.rand(1, maps, *size), feature_affinity(features, RADIUS, "padded")


def whole(maps: Tensor, affinity: Tensor, steps: int) -> Tensor:
    """Walk by squaring the full matrix."""
    _, _, h, w = affinity.shape
    matrix = torch.eye(h * w)
    for (dy, dx), values in zip(half_disc(RADIUS), affinity[0], strict=True):
        y, x = torch.nonzero(values, as_tuple=True)
        source, target = y * w + x, (y + dy) * w + x + dx
        matrix[source, target] = matrix[target, source] = values[y, x]
    matrix = matrix**BETA
    matrix /= matrix.sum(0, keepdim=True)
    for _ in range(steps.bit_length() - 1):
        matrix = matrix @ matrix
    return (maps.flatten(2) @ matrix).view_as(maps)


def ours(maps: Tensor, affinity: Tensor, steps: int) -> Tensor:
    return random_walk(maps, affinity, half_disc(RADIUS), BETA, steps)


METHODS = {"whole": whole, "ours": ours}


def measure(
    method: str, size: tuple[int, int], maps: int, steps: int, repeats: int, out: Path
) -> None:
    """Run one method; print median seconds and GiB, and save the final maps."""
    inputs = draw(size, maps)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        walked = METHODS[method](*inputs, steps)
        seconds.append(time.perf_counter() - begun)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    torch.save(walked, out)
    print(statistics.median(seconds), grown / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grids", nargs="+", default=["47x63", "94x125"])
    parser.add_argument("--maps", type=int, default=3, help="background and two classes")
    parser.add_argument("--steps", type=int, default=256, help="a power of 2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    grids = [tuple(map(int, grid.split("x"))) for grid in args.grids]
    if args.only:
        measure(args.only, grids[0], args.maps, args.steps, args.repeats, args.out)
        return
    print("grid      method  seconds   GiB  times as fast  largest difference")
    for grid in args.grids:
        rows, walks = {}, {}
        with tempfile.TemporaryDirectory() as folder:
            for method in METHODS:
                out = Path(folder) / f"{method}.pt"
                words = ["--grids", grid, "--maps", args.maps, "--steps", args.steps]
                words += ["--repeats", args.repeats, "--only", method, "--out", out]
                done = subprocess.run(
                    [sys.executable, __file__, *map(str, words)],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                rows[method] = [float(v) for v in done.stdout.split()]
                walks[method] = torch.load(out, weights_only=True)
        for method, (seconds, gib) in rows.items():
            times = rows["whole"][0] / seconds
            apart = float((walks[method] - walks["whole"]).abs().max())
            print(f"{grid:9} {method:6} {seconds:8.3f} {gib:5.2f} {times:14.1f} {apart:19.1e}")


if __name__ == "__main__":
    main()
