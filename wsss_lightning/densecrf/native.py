"""Mean field in C++: `mean_field.cpp`, compiled on first use and cached.

The package itself stays pure Python: without a compiler this engine is not available, and
`unavailable` gives the reason. The loops release Python's lock, so threads run in parallel.

Letters: n images, l labels, H W an image.
"""

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Final

import torch
from filelock import FileLock
from jaxtyping import Float, UInt8
from torch import Tensor

from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError

SOURCE: Final = Path(__file__).with_name("mean_field.cpp")
# assume finite values but keep the order of sums: -ffast-math would change labels
FLAGS: Final = (
    *("-std=c++17", "-O3", "-shared", "-fPIC", "-Wno-psabi", "-ffp-contract=fast"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffinite-math-only", "-fno-signed-zeros"),
)
DONE, NO_MEMORY, TOO_NARROW, TOO_MANY_LABELS = range(4)

log = logging.getLogger(__name__)


def mean_field(
    images: Sequence[UInt8[Tensor, "_ _ 3"]],
    unaries: Sequence[Float[Tensor, "_ _ _"]],
    parameters: CRFParameters,
    threads: int = 1,
) -> list[Tensor]:
    """Marginals of each image; see `densecrf.mean_field`.

    Raises:
        InputError: there is no C++ compiler, a kernel is too narrow, or there are over 256 labels.
    """
    work = [(image, unary, parameters) for image, unary in zip(images, unaries, strict=True)]
    if threads < 2 or len(work) < 2:
        return [_one(*one) for one in work]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda one: _one(*one), work))


def unavailable() -> str | None:
    """Why this engine is not available and how to change that; None where it is available."""
    return _library()[1]


def _one(
    image: UInt8[Tensor, "H W 3"], unary: Float[Tensor, "l H W"], p: CRFParameters
) -> Float[Tensor, "l H W"]:
    library, reason = _library()
    if library is None:
        raise InputError(f"engine must be available on this machine, got native; {reason}")
    labels, height, width = unary.shape
    image = image.cpu().contiguous()
    energy = unary.detach().cpu().float().contiguous()
    marginal = torch.empty_like(energy)
    status = library.mean_field(
        ctypes.c_void_p(image.data_ptr()),
        ctypes.c_void_p(energy.data_ptr()),
        ctypes.c_void_p(marginal.data_ptr()),
        labels,
        height,
        width,
        *(ctypes.c_float(v) for v in (p.theta_alpha, p.theta_beta, p.theta_gamma, p.w1, p.w2)),
        p.iterations,
    )
    if status == TOO_NARROW:
        raise InputError(p.too_narrow(height, width))
    if status == TOO_MANY_LABELS:
        raise InputError(
            f"unary must have at most 256 labels for the engine native, got {labels}; leave out "
            "labels that are improbable everywhere, or choose the engine torch"
        )
    if status == NO_MEMORY:
        raise MemoryError(
            f"the CRF of an image of {height}x{width} pixels and {labels} labels does not fit into "
            "memory; make the image smaller, leave out improbable labels, or use fewer processes."
        )
    return marginal.to(unary.device)


@cache
def _library() -> tuple[ctypes.CDLL | None, str | None]:
    chosen = os.environ.get("CXX")
    compilers = [shutil.which(name) for name in ([chosen] if chosen else ["c++", "g++", "clang++"])]
    compiler = next((path for path in compilers if path), None)
    if compiler is None:
        return None, (
            f"there is no C++ compiler ({'CXX=' + chosen if chosen else 'c++, g++ or clang++'}); "
            "install one (on Debian: apt-get install g++), or set CXX to its path."
        )
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    key = (SOURCE.read_text(), version, " ".join(FLAGS), _processor())
    name = f"mean_field-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.so"
    problem = ""
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{name}.lock"):
                return _load(compiler, folder / name), None
        except CompileError as error:
            return None, f"{compiler} cannot compile the CRF: {error}"
        except OSError as error:  # disk full, or no permission to write or to load
            problem = str(error)
    return None, f"the compiled library cannot be stored: {problem}; set XDG_CACHE_HOME."


class CompileError(Exception):
    """The last line that the compiler printed."""


def _load(compiler: str, library: Path) -> ctypes.CDLL:
    if library.is_file():
        try:
            return ctypes.CDLL(str(library))
        except OSError:  # damaged
            library.unlink()
    _compile(compiler, library)
    return ctypes.CDLL(str(library))


def _compile(compiler: str, library: Path) -> None:
    """Write the compiled library to `made` atomically."""
    log.info("compiling the CRF (once per machine, a few seconds)")
    output = ""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        new = Path(folder) / library.name
        # compilers name the flag for this processor differently
        for processor in (["-march=native"], ["-mcpu=native"], []):
            command = [compiler, *FLAGS, *processor, str(SOURCE), "-o", str(new)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                with new.open("rb") as file:
                    os.fsync(file.fileno())
                new.replace(library)
                return
            output = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    raise CompileError(output)


def _folders() -> Iterator[Path]:
    """Folders for the compiled library: the user's cache, else a private temporary folder.

    The temporary folder must be private to this process because the library is executed.
    """
    cache_home = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # no home
        yield (Path(cache_home) if cache_home else Path.home() / ".cache") / "wsss_lightning"
    yield Path(tempfile.mkdtemp(prefix="wsss_lightning-"))


def _processor() -> str:
    """Description of the processor: machines that share a home folder may need different code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
