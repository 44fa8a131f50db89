"""Several processes for one stage, each with its own device."""

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
    """DDP whose processes are started for one stage and end with it.

    The process of the pipeline starts them. All of them therefore have the same configuration,
    however the run was started (by a sweep or a scheduler), and environment variables of one job
    do not reach the next.
    Gradients are averaged at each optimiser step, and running statistics of batch norms when
    the model is validated or saved.

    Args:
        start_method: "spawn"; or "forkserver", which imports modules only once, but cannot be used
            if the starting process uses a GPU.
    """

    def __init__(self, start_method: Literal["spawn", "forkserver"] = "spawn") -> None:
        super().__init__(
            start_method=start_method,
            # a forward pass must not wait for processes without images
            broadcast_buffers=False,
            # in the environment of a scheduler it would wait for processes of the scheduler
            cluster_environment=LightningEnvironment(),
        )

    def _configure_launcher(self) -> None:
        self._launcher = ByValueLauncher(self, start_method=self._start_method)  # type: ignore[arg-type]

    def setup_environment(self) -> None:
        self._reset_metrics()
        super().setup_environment()

    def on_train_start(self) -> None:
        _restore_sigterm()

    def on_validation_start(self) -> None:
        _restore_sigterm()
        self._average_statistics()

    def on_predict_start(self) -> None:
        _restore_sigterm()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        self._average_statistics()
        return super().lightning_module_state_dict()

    def _reset_metrics(self) -> None:
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
    """Starts processes that receive copies of the trainer and the module, tensors included.

    PyTorch would share the memory of each tensor through a file descriptor. Python passes at most
    252 of them to a process of a fork server, and operating systems often allow 1024; a
    MobileNet-V2 has 314 tensors, an EfficientNet-B7 about 1,700.

    A terminal sends an interrupt to all processes. These processes start with SIGINT blocked; the
    process that started them ends them.
    """

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any
    ) -> Any:
        strategy: Any = self._strategy
        os.environ["MASTER_PORT"] = str(strategy.cluster_environment.main_port)
        queue: Any = multiprocessing.get_context(self._start_method).SimpleQueue()
        # one pickle, so that trainer and arguments keep referring to the same module
        job = pickle.dumps((self, trainer, function, args, kwargs, _GlobalStateSnapshot.capture()))
        with interrupts_blocked():
            started = start_processes(
                _run_worker,
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


def _run_worker(rank: int, job: bytes, queue: Any) -> None:
    exit_with_parent()
    silence_lightning()
    block_sigchld_during_fork()
    launcher, trainer, function, args, kwargs, state = pickle.loads(job)
    launcher._wrapping_function(rank, trainer, function, args, kwargs, queue, state)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block SIGINT for processes started inside; this process receives it afterwards."""
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
    """Gather the state of a metric from all processes, for `Metric.dist_sync_fn`.

    In a process without images, a list state is an empty tensor of arbitrary shape and type, which
    torchmetrics' function cannot gather. It becomes an empty tensor of the others' shape and type.

    Args:
        state: state in this process.
        group: group of processes; None: all.
    """
    parts: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(parts, state.detach().cpu(), group)
    filled = next((part for part in parts if part.numel()), parts[0])
    return [(part if part.numel() else filled[:0]).to(state.device) for part in parts]


def exit_with_parent() -> None:
    """End this process as soon as its parent ends, for whatever reason."""
    Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _restore_sigterm() -> None:
    """Let SIGTERM end this process, after which the parent stops the others.

    Lightning's handler communicates with the other processes, which wait for something else if
    they are in the middle of a step.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@cache
def block_sigchld_during_fork() -> None:
    """Keep handlers of SIGCHLD from running during os.fork().

    torch's handler raises an error when a data worker has died. If that happened during a fork,
    the lock of `logging` would never be released, and other threads that log (such as W&B's)
    would wait forever. A worker that dies at such a moment is noticed at the next request for data.
    """
    if not hasattr(os, "register_at_fork"):
        return
    handlers: list[Any] = []

    def set_aside() -> None:
        # None is a handler that was not set from Python; it could not be restored
        if current_thread() is main_thread() and signal.getsignal(signal.SIGCHLD) is not None:
            handlers.append(signal.signal(signal.SIGCHLD, signal.SIG_DFL))

    def restore() -> None:
        if handlers:
            signal.signal(signal.SIGCHLD, handlers.pop())

    os.register_at_fork(before=set_aside, after_in_parent=restore, after_in_child=restore)


def silence_lightning() -> None:
    """Hide Lightning's messages about devices and workers, which every stage would repeat."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    hidden = (
        ".*does not have many workers.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*exists and is not empty.*",  # expected for a resumed fit
        ".*custom batch sampler.*",
        ".*dataloader is not resumable.*",  # the data module resumes its order of images
        ".*in eval mode at the start of training.*",  # frozen batch norms
        ".*no .validation_step..*",  # affinity modules have none
        ".*number of training batches.*smaller than the logging interval.*",
        ".*broadcast_buffers. is deprecated.*",
        ".*recommended to use .self.log.*sync_dist.*",  # metrics already cover all processes
        ".*compute.. method of metric.*was called before the ..update.*",  # without images
    )
    for message in hidden:
        warnings.filterwarnings("ignore", message=message)


# messages of a process that has lost its connection to another one
LOST = ("Connection closed by peer", "Connection reset by peer", "NCCL communicator was aborted")

# errors of Lightning about arguments of the trainer that do not fit the data or the module
SETTINGS = re.compile(
    r"(?:MisconfigurationException: |RuntimeError: (?=Early stopping conditioned on)|"
    r"ValueError: (?=.{0,40}val_check_interval))(.*)",
    re.DOTALL,
)


@contextmanager
def translate_worker_errors(trainer: pl.Trainer) -> Iterator[None]:
    """Turn errors of a stage's processes into messages that name the process and the cause.

    Raises:
        InputError: a process raised it or was ended from outside, or an argument of the trainer
            does not fit the data.
        RuntimeError: a process raised another error; its traceback is the message.
    """
    try:
        yield
    except ProcessExitedException as error:
        raise InputError(_describe_end(trainer, error.error_index)) from None
    except ProcessRaisedException as error:
        text = str(error)
        _, is_input_error, message = text.rpartition("InputError: ")
        if is_input_error:
            raise InputError(message.strip()) from None
        _check_settings(text)
        ended = [i for i, p in enumerate(_processes(trainer)) if (p.exitcode or 0) < 0]
        if any(sign in text for sign in LOST) and ended:
            raise InputError(_describe_end(trainer, ended[0])) from None
        raise RuntimeError(text) from None
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        _check_settings(f"{type(error).__name__}: {error}")
        raise


def _check_settings(text: str) -> None:
    """Raise an InputError if the text of an error is about arguments of the trainer."""
    match = SETTINGS.search(text)
    if match:
        reason = match[1].strip().rstrip(".")
        raise InputError(f"{reason}. Change that argument in trainer.") from None


def _describe_end(trainer: pl.Trainer, rank: int) -> str:
    process, count = _processes(trainer)[rank], trainer.world_size
    code = process.exitcode or 0
    ending = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return (
        f"process {rank} of {count} (pid {process.pid}) {ending}{hint}, and the others were "
        "stopped. The same command resumes this stage."
    )


def _processes(trainer: pl.Trainer) -> list[Any]:
    return list(getattr(trainer.strategy.launcher, "procs", []))
