"""Mean field in compiled loops: `mean_field.cpp`, compiled when first used and then kept.

The package stays pure Python: where there is no compiler, this engine is not to be had, and says
why. The loops hold no lock of Python's, so threads run side by side.

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
# finite values only, but every sum in its order: -ffast-math would change labels
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
    """Marginals of each image; see `functional.crf.mean_field`."""
    work = [(image, unary, parameters) for image, unary in zip(images, unaries, strict=True)]
    if threads < 2 or len(work) < 2:
        return [_one(*one) for one in work]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda one: _one(*one), work))


def reason_why_not() -> str | None:
    """None where this engine is to be had; else what is missing, and how to mend it."""
    return _library()[1]


def _one(
    image: UInt8[Tensor, "H W 3"], unary: Float[Tensor, "l H W"], p: CRFParameters
) -> Float[Tensor, "l H W"]:
    library, reason = _library()
    if library is None:
        raise InputError(f"crf.engine is native, but {reason}")
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
            f"the unary has {labels} labels, but crf.engine=native takes 256 at most; leave out "
            "labels that are nowhere probable, or choose crf.engine=torch."
        )
    if status == NO_MEMORY:
        raise MemoryError(
            f"the CRF of an image of {height}x{width} pixels and {labels} labels does not fit into "
            "memory; make it smaller, leave out improbable labels, or lower workers."
        )
    return marginal.to(unary.device)


@cache
def _library() -> tuple[ctypes.CDLL | None, str | None]:
    chosen = os.environ.get("CXX")
    found = [shutil.which(name) for name in ([chosen] if chosen else ["c++", "g++", "clang++"])]
    compiler = next((path for path in found if path), None)
    if compiler is None:
        return None, (
            f"there is no C++ compiler ({'CXX=' + chosen if chosen else 'c++, g++ or clang++'}); "
            "install one (on Debian: apt-get install g++), or set CXX to its path."
        )
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    what = (SOURCE.read_text(), version, " ".join(FLAGS), _processor())
    name = f"mean_field-{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}.so"
    problem = ""
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{name}.lock"):
                return _load(compiler, folder / name), None
        except CompileError as error:
            return None, f"{compiler} cannot compile the CRF's loops: {error}"
        except OSError as error:  # no room, no right to write or to run what lies there
            problem = str(error)
    return None, f"the compiled loops can be kept nowhere: {problem}; set XDG_CACHE_HOME."


class CompileError(Exception):
    """The compiler's last words."""


def _load(compiler: str, made: Path) -> ctypes.CDLL:
    if made.is_file():
        try:
            return ctypes.CDLL(str(made))
        except OSError:  # damaged
            made.unlink()
    _compile(compiler, made)
    return ctypes.CDLL(str(made))


def _compile(compiler: str, made: Path) -> None:
    """Make the file `made`, whole or not at all."""
    log.info("compiling the CRF's loops, once on this machine (some seconds)")
    said = ""
    with tempfile.TemporaryDirectory(dir=made.parent) as folder:
        new = Path(folder) / made.name
        # not every compiler knows its own processor by the same word
        for processor in (["-march=native"], ["-mcpu=native"], []):
            command = [compiler, *FLAGS, *processor, str(SOURCE), "-o", str(new)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                with new.open("rb") as file:
                    os.fsync(file.fileno())
                new.replace(made)
                return
            said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    raise CompileError(said)


def _folders() -> Iterator[Path]:
    """Where compiled loops are kept: the user's cache; for lack of it a temporary folder of this
    process's own, since what lies there is run."""
    cache_home = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # no home
        yield (Path(cache_home) if cache_home else Path.home() / ".cache") / "wsss_lightning"
    yield Path(tempfile.mkdtemp(prefix="wsss_lightning-"))


def _processor() -> str:
    """What tells apart processors that share a home folder: code is compiled for just one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
