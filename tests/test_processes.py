import signal
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from wsss_lightning.errors import InputError
from wsss_lightning.processes import failures_told


def trainer(*codes):
    """As Lightning's, behind processes that ended with these codes."""
    procs = [SimpleNamespace(exitcode=code, pid=100 + i) for i, code in enumerate(codes)]
    made = Mock(spec=pl.Trainer)
    made.strategy = SimpleNamespace(launcher=SimpleNamespace(procs=procs))
    made.world_size = len(codes)
    return made


def exited(rank):
    return ProcessExitedException("gone", rank, 100 + rank, -signal.SIGKILL)


def raised(text):
    return ProcessRaisedException(
        f"-- Process 0 terminated\nTraceback (most recent\n{text}", 0, 100
    )


@pytest.mark.parametrize(
    ("codes", "error", "message"),
    [
        ((-15, -9), exited(1), r"process 1 of 2 \(pid 101\) was ended by SIGKILL \(out of memory?"),
        ((3, -15), exited(0), r"process 0 of 2 \(pid 100\) ended with code 3, and the others were"),
        # the other one noticed first
        (
            (1, -15),
            raised("RuntimeError: [gloo] Connection closed by peer [127.0.0.1]:5"),
            r"process 1 of 2 \(pid 101\) was ended by SIGTERM",
        ),
        ((1, -15), raised("wsss_lightning.errors.InputError: x.png is missing"), "^x.png is miss"),
    ],
)
def test_who_failed_is_named_and_what_the_user_can_mend_is_said(codes, error, message):
    with pytest.raises(InputError, match=message), failures_told(trainer(*codes)):
        raise error


def test_a_defect_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"), failures_told(trainer(1, -15)):
        raise raised("ZeroDivisionError: division by zero")
