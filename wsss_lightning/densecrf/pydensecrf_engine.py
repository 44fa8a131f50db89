"""Mean field by pydensecrf, the library of published results.

The library runs in a separate process (`pydensecrf_worker.py`) because it ends its process on
errors: that costs one image instead of the run.

Letters: n images, l labels, H W an image.
"""

import atexit
import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError

WORKER = "wsss_lightning.densecrf.pydensecrf_worker"


class EngineError(RuntimeError):
    """The process of the library ended while it processed an image; the next image starts one."""


def mean_field(
    images: Sequence[UInt8[Tensor, "_ _ 3"]],
    unaries: Sequence[Float[Tensor, "_ _ _"]],
    parameters: CRFParameters,
) -> list[Tensor]:
    """Marginals of each image; see `densecrf.mean_field`.

    Raises:
        InputError: pydensecrf is not installed.
        EngineError: the process of pydensecrf ended.
    """
    return [_one(image, unary, parameters) for image, unary in zip(images, unaries, strict=True)]


def _one(
    image: UInt8[Tensor, "H W 3"], unary: Float[Tensor, "l H W"], p: CRFParameters
) -> Float[Tensor, "l H W"]:
    request = {
        "image": image.cpu().contiguous().numpy(),
        "unary": unary.detach().cpu().float().contiguous().numpy(),
        "gaussian": {"sxy": p.theta_gamma, "compat": p.w2},
        "bilateral": {"sxy": p.theta_alpha, "srgb": p.theta_beta, "compat": p.w1},
        "iterations": p.iterations,
    }
    return torch.from_numpy(_worker().ask(request)).to(unary.device)


class Worker:
    """A process that answers requests one after another, and is restarted if it ends."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()

    def ask(self, request: dict[str, Any]) -> Any:
        with self.lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                pickle.dump(request, process.stdin, protocol=5)
                process.stdin.flush()
                answer = pickle.load(process.stdout)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                status = self.stop()
                raise EngineError(
                    f"pydensecrf ended its process with status {status} on an image of "
                    f"{request['unary'].shape[1:]} pixels; choose the engine auto"
                ) from error
        if isinstance(answer, ImportError):
            raise InputError(
                "engine must be installed, got pydensecrf; choose auto, or run pip install "
                "'wsss-lightning[crf]' (needs a C++ compiler and Python below 3.13)."
            ) from answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop(self) -> int | None:
        if self.process is None:
            return None
        self.process.kill()
        status = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(
                OSError
            ):  # unread data cannot be written after the process ended
                if pipe is not None:
                    pipe.close()
        self.process = None
        return status

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None or self.process.poll() is not None:
            root = str(Path(__file__).parents[2])
            known = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
            self.process = subprocess.Popen(
                [sys.executable, "-m", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(known)},
            )
        return self.process


# by process id: a forked process must not share the pipes of its parent
_workers: dict[int, Worker] = {}


def _worker() -> Worker:
    if os.getpid() not in _workers:
        _workers.clear()
        _workers[os.getpid()] = Worker()
        atexit.register(_workers[os.getpid()].stop)
    return _workers[os.getpid()]
