import errno

import pytest
from facts import assert_names

from wsss_lightning.utils import machine_errors


def raised(error, cause):
    error.__cause__ = cause
    return error


FULL = OSError(errno.ENOSPC, "No space left on device", "a.npz")


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (FULL, ["crf/val:", "disk", "No space left on device", "a.npz"]),
        (raised(RuntimeError("epoch 3"), FULL), ["disk", "No space left on device", "a.npz"]),
        # of a worker, whose traceback is the message
        (
            OSError("Caught OSError in ...\nOSError: [Errno 28] No space left"),
            ["disk", "No space left"],
        ),
        (OSError(errno.EFBIG, "File too large"), ["disk", "File too large"]),
        (
            PermissionError(errno.EACCES, "Permission denied", "runs/x"),
            ["runs/x", "output_dir=DIR"],
        ),
        (MemoryError("Unable to allocate 3 GiB"), ["memory", "workers"]),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ["memory"]),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate"),
            ["memory"],
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 4, 5) exited unexpectedly"),
            ["worker process"],
        ),
    ],
)
def test_what_the_machine_did_is_told_with_its_mend(error, parts):
    told = machine_errors.told(error, "crf/val")
    assert_names(told, *parts)


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), RuntimeError("shapes differ"), FileNotFoundError(errno.ENOENT, "no", "x")],
)
def test_a_defect_is_not_taken_for_the_machines(error):
    assert machine_errors.told(error) is None


def test_for_lack_of_memory_the_keys_of_the_step_are_named():
    message = machine_errors.told(MemoryError(), "seeds/train", ("cam.batch_size", "cam.scales"))
    assert_names(message, "seeds/train", "cam.batch_size", "cam.scales")
