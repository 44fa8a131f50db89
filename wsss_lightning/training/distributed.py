"""Several processes for one stage, each with a device of its own."""

import logging
import multiprocessing
import os
import pickle
import re
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import resource_tracker
from threading import Thread, current_thread, main_thread
from typing import Any, Literal, final

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers.multiprocessing import (
    _GlobalStateSnapshot,
    _MultiProcessingLauncher,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, distributed
from torch.multiprocessing.spawn import (
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)
from torchmetrics import Metric

from wsss_lightning.errors import InputError


@final
class PerStageDDP(DDPStrategy):
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

    def _configure_launcher(self) -> None:
        self._launcher = ByValueLauncher(self, start_method=self._start_method)  # type: ignore[arg-type]

    def setup_environment(self) -> None:
        self._prepare_metrics()
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

    def _prepare_metrics(self) -> None:
        module: Any = self.lightning_module
        for part in module.modules():
            if isinstance(part, Metric):
                part.reset()
                part.dist_sync_fn = gather_states

    def _average_statistics(self) -> None:
        module: Any = self.lightning_module
        for value in module.buffers():
            if value.is_floating_point():
                distributed.all_reduce(value)
                value /= self.world_size


@final
class ByValueLauncher(_MultiProcessingLauncher):
    """Starts processes that get a copy of the trainer and the module, tensors included.

    PyTorch would share the memory of each tensor by a file descriptor. Python passes 252 of them
    to a process of a fork server, and an operating system often allows 1024; a MobileNet-V2 has 314
    tensors, an EfficientNet-B7 some 1,700.

    An interrupt reaches all processes of a terminal. These are started with SIGINT blocked, and are
    ended by the process that started them.
    """

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any
    ) -> Any:
        strategy: Any = self._strategy
        os.environ["MASTER_PORT"] = str(strategy.cluster_environment.main_port)
        queue: Any = multiprocessing.get_context(self._start_method).SimpleQueue()
        # in one piece, so that all parts refer to the same module
        job = pickle.dumps((self, trainer, function, args, kwargs, _GlobalStateSnapshot.capture()))
        with interrupts_blocked():
            started = start_processes(
                _work,
                args=(job, queue),
                nprocs=strategy.num_processes,
                start_method=self._start_method,
                join=False,
            )
        self.procs = started.processes
        try:
            while not started.join():
                pass
        except BaseException:
            for process in self.procs:
                process.kill()
            raise
        output = queue.get()
        self._recover_results_in_main_process(output, trainer)
        return output.trainer_results


def _work(rank: int, job: bytes, queue: Any) -> None:
    exit_with_parent()
    silence_lightning()
    block_sigchld_during_fork()
    launcher, trainer, function, args, kwargs, state = pickle.loads(job)
    launcher._wrapping_function(rank, trainer, function, args, kwargs, queue, state)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Start processes that never get SIGINT; in this one it waits until the block is left."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # its start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def gather_states(state: Tensor, group: Any | None = None) -> list[Tensor]:
    """The state of a metric in each process, for `Metric.dist_sync_fn`.

    A process without images has an empty tensor of no particular shape and type in place of a
    list; torchmetrics' own function cannot gather it beside the tensors of other processes. It
    becomes an empty tensor of their shape and type.
    """
    parts: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(parts, state.detach().cpu(), group)
    whole = next((part for part in parts if part.numel()), parts[0])
    return [(part if part.numel() else whole[:0]).to(state.device) for part in parts]


def exit_with_parent() -> None:
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
def block_sigchld_during_fork() -> None:
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


def silence_lightning() -> None:
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
        ".*compute.. method of metric.*was called before the ..update.*",  # no image in a process
    )
    for message in quiet:
        warnings.filterwarnings("ignore", message=message)


@contextmanager
def translate_worker_errors(trainer: pl.Trainer) -> Iterator[None]:
    """Say of a stage's processes which one failed, and of what.

    Raises:
        InputError: one raised it, was ended from outside, or cannot run the trainer on these data.
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
        _check_settings(told)
        ended = [i for i, p in enumerate(_processes(trainer)) if (p.exitcode or 0) < 0]
        if any(sign in told for sign in LOST) and ended:
            raise InputError(_ended(trainer, ended[0])) from None
        raise RuntimeError(told) from None
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        _check_settings(f"{type(error).__name__}: {error}")
        raise


# what Lightning raises where arguments of the trainer do not fit the data or the module
SETTINGS = re.compile(
    r"(?:MisconfigurationException: |RuntimeError: (?=Early stopping conditioned on)|"
    r"ValueError: (?=.{0,40}val_check_interval))(.*)",
    re.DOTALL,
)


def _check_settings(told: str) -> None:
    found = SETTINGS.search(told)
    if found:
        said = found[1].strip().rstrip(".")
        raise InputError(f"{said}. Change that argument in trainer.") from None


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
