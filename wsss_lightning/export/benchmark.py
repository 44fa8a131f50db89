"""Speed of an exported network, compared with the trained one in PyTorch."""

import copy
import platform
import statistics
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from wsss_lightning.export.files import Run
from wsss_lightning.export.network import ExportNetwork

WARM_UP = 3
REPEATS = 20
LEAST, LIMIT = 5, 60  # repeats, and seconds after which no more follow
PACKAGES = ("torch", "onnxruntime")


@dataclass(frozen=True)
class Benchmark:
    """Median seconds of one call of each network, with the same input on the CPU.

    Args:
        shape: b, H and W of the input.
        eager: seconds in PyTorch.
        exported: seconds of the exported network.
        repeats: number of calls of each.
        threads: number of threads of each.
    """

    shape: tuple[int, int, int]
    eager: float
    exported: float
    repeats: int
    threads: int

    @property
    def ratio(self) -> float:
        """Speed of the exported network in units of PyTorch's."""
        return self.eager / self.exported

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        return (
            f"{shape}: PyTorch {1000 * self.eager:.1f} ms, exported {1000 * self.exported:.1f} ms, "
            f"{self.ratio:.2f} times as fast (medians of {self.repeats} interleaved calls, "
            f"{self.threads} threads)"
        )


def benchmark(network: ExportNetwork, run: Run, image: Tensor, repeats: int = REPEATS) -> Benchmark:
    """Time both networks in turn, after a warm-up.

    PyTorch computes a classifier's CAMs alone, in one pass of the encoder, from which ONNX Runtime
    computes its probabilities, too.

    Args:
        network: the trained network.
        run: the exported network.
        image: images (b 3 H W) in [0, 1].
        repeats: number of calls of each; fewer, but at least 5, where they take a minute.
    """
    given = network.to_input(image)
    calls: tuple[Run, Run] = (_one_pass(network), run)
    seconds: tuple[list[float], list[float]] = ([], [])
    begin = time.perf_counter()
    with torch.no_grad():
        for repeat in range(-WARM_UP, repeats):
            for times, call in zip(seconds, calls, strict=True):
                start = time.perf_counter()
                call(given)
                if repeat >= 0:
                    times.append(time.perf_counter() - start)
            if repeat + 1 >= LEAST and time.perf_counter() - begin > LIMIT:
                break
    count, _, height, width = image.shape
    eager, exported = map(statistics.median, seconds)
    shape = (count, height, width)
    return Benchmark(shape, eager, exported, len(seconds[0]), torch.get_num_threads())


def _one_pass(network: ExportNetwork) -> ExportNetwork:
    """The network without the outputs that cost PyTorch a second pass of the encoder."""
    if "cams" not in network.outputs:
        return network
    single = copy.copy(network)
    single.outputs = ("cams",)
    return single


def machine() -> str:
    """Processor and versions, for the output of a benchmark."""
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return f"{_processor()}, {', '.join(versions)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
