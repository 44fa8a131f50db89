"""Several processes for one stage, each with a device of its own."""

import logging
import multiprocessing
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from threading import Thread, current_thread, main_thread
from typing import Any, Literal, final

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import distributed
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException
from torchmetrics import Metric

from wsss_lightning.errors import InputError


@final
class Processes(DDPStrategy):
    """Processes that live as long as one stage, and are started by the one that knows the pipeline.

    So all work from the same configuration, whatever started the run (a sweep, a scheduler), and
    no environment variable of one job reaches the next. Gradients are averaged after each step;
    running statistics whenever the model is validated or saved.

    Args:
        start_method: `spawn`, or `forkserver`, which imports once, but not where the starting
            process uses a GPU.
    """

    def __init__(self, start_method: Literal["spawn", "forkserver"] = "spawn") -> None:
        super().__init__(
            start_method=start_method,
            # a forward pass must not wait for processes that have no image left
            broadcast_buffers=False,
            # a scheduler's environment would have it wait for processes that it did not start
            cluster_environment=LightningEnvironment(),
        )

    def setup_environment(self) -> None:
        quiet_lightning()
        keep_forks_whole()
        end_with_parent()
        self._own_memory()
        super().setup_environment()

    def on_train_start(self) -> None:
        _end_when_told()

    def on_validation_start(self) -> None:
        _end_when_told()
        self._average_statistics()

    def on_predict_start(self) -> None:
        _end_when_told()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        self._average_statistics()
        return super().lightning_module_state_dict()

    def _own_memory(self) -> None:
        """Tensors come here in memory that all processes share."""
        module: Any = self.lightning_module
        for tensor in chain(module.parameters(), module.buffers()):
            tensor.data = tensor.data.clone()
        for part in module.modules():
            if isinstance(part, Metric):
                part.reset()

    def _average_statistics(self) -> None:
        module: Any = self.lightning_module
        for value in module.buffers():
            if value.is_floating_point():
                distributed.all_reduce(value)
                value /= self.world_size


def end_with_parent() -> None:
    """Have this process end as soon as the one that started it does, however that ends."""
    Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _end_when_told() -> None:
    # Lightning's own handler sends a message that the others, in the middle of a step, do not
    # expect; a process that simply ends takes the others along
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@cache
def keep_forks_whole() -> None:
    """Let no handler of SIGCHLD run amid os.fork().

    torch's raises there when a data worker has died, and the lock of `logging`, which is held
    while a process is forked, is then never given back: whatever logs in another thread waits for
    ever, as W&B does at the end. A death in such a moment is noticed when data are asked for.
    """
    if not hasattr(os, "register_at_fork"):
        return
    handlers: list[Any] = []

    def put_aside() -> None:
        # None: a handler that was not set from Python, and could not be put back
        if current_thread() is main_thread() and signal.getsignal(signal.SIGCHLD) is not None:
            handlers.append(signal.signal(signal.SIGCHLD, signal.SIG_DFL))

    def put_back() -> None:
        if handlers:
            signal.signal(signal.SIGCHLD, handlers.pop())

    os.register_at_fork(before=put_aside, after_in_parent=put_back, after_in_child=put_back)


def quiet_lightning() -> None:
    """Leave out what Lightning says of devices and workers at each of many small stages."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    quiet = (
        ".*does not have many workers.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*exists and is not empty.*",  # a folder where an interrupted fit goes on
        ".*custom batch sampler.*",
        ".*dataloader is not resumable.*",  # the data module knows where it was
        ".*in eval mode at the start of training.*",  # batch norms that are kept as they are
        ".*no .validation_step..*",  # a module that learns beside a split it must not see
        ".*number of training batches.*smaller than the logging interval.*",
        ".*broadcast_buffers. is deprecated.*",
        ".*recommended to use .self.log.*sync_dist.*",  # what is logged is of all processes
    )
    for message in quiet:
        warnings.filterwarnings("ignore", message=message)


@contextmanager
def failures_told(trainer: pl.Trainer) -> Iterator[None]:
    """Say of a stage's processes which one failed, and of what.

    Raises:
        InputError: one raised it, or was ended from outside.
        RuntimeError: one raised something else; its traceback is the message.
    """
    try:
        yield
    except ProcessExitedException as error:
        raise InputError(_ended(trainer, error.error_index)) from None
    except ProcessRaisedException as error:
        told = str(error)
        _, found, message = told.rpartition("InputError: ")
        if found:
            raise InputError(message.strip()) from None
        ended = [i for i, p in enumerate(_processes(trainer)) if (p.exitcode or 0) < 0]
        if any(sign in told for sign in LOST) and ended:
            raise InputError(_ended(trainer, ended[0])) from None
        raise RuntimeError(told) from None


# what a process says of another one that is gone
LOST = ("Connection closed by peer", "Connection reset by peer", "NCCL communicator was aborted")


def _ended(trainer: pl.Trainer, rank: int) -> str:
    process, count = _processes(trainer)[rank], trainer.world_size
    code = process.exitcode or 0
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return (
        f"process {rank} of {count} (pid {process.pid}) {how}{hint}, and the others were stopped. "
        "The same command goes on with this stage."
    )


def _processes(trainer: pl.Trainer) -> list[Any]:
    return list(getattr(trainer.strategy.launcher, "procs", []))
