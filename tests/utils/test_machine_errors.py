import errno

import pytest
from facts import assert_names

from wsss_lightning.utils.machine_errors import explain_machine_error


def raised(error, cause):
    error.__cause__ = cause
    return error


DISK_FULL = OSError(errno.ENOSPC, "No space left on device", "a.npz")


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (DISK_FULL, ["crf/val", "disk is full", "No space left on device", "a.npz"]),
        (raised(RuntimeError("epoch 3"), DISK_FULL), ["disk is full"]),
        # the message of a worker is its traceback
        (OSError("Caught OSError in ...\nOSError: [Errno 28] No space left"), ["disk is full"]),
        (OSError(errno.EFBIG, "File too large"), ["disk is full", "File too large"]),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), ["runs/x", "output_dir="]),
        (MemoryError("Unable to allocate 3 GiB"), ["out of memory", "workers", "3 GiB"]),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ["out of memory"]),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate"),
            ["memory"],
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 4, 5) exited unexpectedly"),
            ["worker process was killed", "workers", "resume"],
        ),
    ],
)
def test_an_error_of_the_machine_is_explained(error, facts):
    message = explain_machine_error(error, "crf/val")
    assert_names(message, *facts)


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), RuntimeError("shapes differ"), FileNotFoundError(errno.ENOENT, "no", "x")],
)
def test_a_defect_is_no_error_of_the_machine(error):
    assert explain_machine_error(error) is None


def test_out_of_memory_names_the_keys_of_the_stage():
    message = explain_machine_error(MemoryError(), "seeds/train", ("cam.batch_size", "cam.scales"))
    assert_names(message, "seeds/train", "cam.batch_size", "cam.scales", "workers")
