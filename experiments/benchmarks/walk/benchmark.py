"""The random walk here against the official formulation: equal maps, time and memory.

    python experiments/benchmarks/walk/benchmark.py --grids 47x63 94x125

The official codes of PSA and IRN build the matrix of all pixels, raise its entries to beta, divide
by the sums of its columns, square it log2(steps) times and multiply the maps. Affinities are drawn,
smooth as those of an image; the way from affinities to walked maps is timed, each in a process of
its own, and its peak memory beyond that of libraries and inputs.
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
    """By the whole matrix, squared."""
    _, _, h, w = affinity.shape
    matrix = torch.eye(h * w)
    for (dy, dx), values in zip(half_disc(RADIUS), affinity[0], strict=True):
        y, x = torch.nonzero(values, as_tuple=True)
        here, there = y * w + x, (y + dy) * w + x + dx
        matrix[here, there] = matrix[there, here] = values[y, x]
    matrix = matrix**BETA
    matrix /= matrix.sum(0, keepdim=True)
    for _ in range(steps.bit_length() - 1):
        matrix = matrix @ matrix
    return (maps.flatten(2) @ matrix).view_as(maps)


def ours(maps: Tensor, affinity: Tensor, steps: int) -> Tensor:
    return random_walk(maps, affinity, half_disc(RADIUS), BETA, steps)


WAYS = {"whole": whole, "ours": ours}


def measure(
    way: str, size: tuple[int, int], maps: int, steps: int, repeats: int, out: Path
) -> None:
    """One way: prints median seconds and GiB, and leaves its maps."""
    inputs = draw(size, maps)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        found = WAYS[way](*inputs, steps)
        seconds.append(time.perf_counter() - begun)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    torch.save(found, out)
    print(statistics.median(seconds), grown / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grids", nargs="+", default=["47x63", "94x125"])
    parser.add_argument("--maps", type=int, default=3, help="background and two classes")
    parser.add_argument("--steps", type=int, default=256, help="a power of 2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    grids = [tuple(map(int, grid.split("x"))) for grid in told.grids]
    if told.only:
        measure(told.only, grids[0], told.maps, told.steps, told.repeats, told.out)
        return
    print("grid      way     seconds   GiB  times as fast  largest difference")
    for grid in told.grids:
        rows, walks = {}, {}
        with tempfile.TemporaryDirectory() as folder:
            for way in WAYS:
                out = Path(folder) / f"{way}.pt"
                words = ["--grids", grid, "--maps", told.maps, "--steps", told.steps]
                words += ["--repeats", told.repeats, "--only", way, "--out", out]
                done = subprocess.run(
                    [sys.executable, __file__, *map(str, words)],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                rows[way] = [float(v) for v in done.stdout.split()]
                walks[way] = torch.load(out, weights_only=True)
        for way, (seconds, gib) in rows.items():
            times = rows["whole"][0] / seconds
            apart = float((walks[way] - walks["whole"]).abs().max())
            print(f"{grid:9} {way:6} {seconds:8.3f} {gib:5.2f} {times:14.1f} {apart:19.1e}")


if __name__ == "__main__":
    main()
