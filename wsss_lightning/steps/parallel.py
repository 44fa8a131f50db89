"""Work on many images in several processes."""

from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from typing import Any

import torch

from wsss_lightning.data.module import fork_context
from wsss_lightning.training.distributed import exit_with_parent
from wsss_lightning.utils.console import track


def parallel_map(
    work: Callable[[Any], None], items: list[Any], workers: int, name: str, threads: bool
) -> None:
    """Call `work` on every item, in processes if there are several workers.

    Args:
        work: stores its own result.
        items: arguments of `work`.
        workers: processes; 0 and 1 mean this process.
        name: name of the progress bar.
        threads: use threads instead of processes.
    """
    if workers < 2 or len(items) < 2:
        for item in track(items, len(items), name):
            work(item)
        return
    pool: Executor
    if threads:
        pool = ThreadPoolExecutor(workers)
    else:
        pool = ProcessPoolExecutor(workers, mp_context=fork_context(), initializer=_start_worker)
    with pool:
        pending = [pool.submit(work, item) for item in items]
        try:
            for future in track(as_completed(pending), len(pending), name):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker() -> None:
    torch.set_num_threads(1)
    # otherwise an idle worker would outlive a killed run and hold the lock of the stage
    exit_with_parent()
