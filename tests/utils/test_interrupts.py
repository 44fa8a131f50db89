import os
import signal
import subprocess
import sys
import time

import pytest

from wsss_lightning.utils import interrupts

# what the interrupted work does: it ends, raises another error, or catches everything
WORK = {
    "waits": "wait()",
    "raises another error": """
try:
    wait()
finally:
    raise RuntimeError("while cleaning up")
""",
    "complains at the end": """
import atexit
atexit.register(lambda: sys.stderr.write("a socket is gone"))
wait()
""",
    "exits by itself": """
try:
    wait()
except BaseException:
    sys.exit(1)
""",
    "catches everything": """
while True:
    try:
        wait()
    except BaseException:
        pass
""",
    "ends as if nothing had happened": """
try:
    wait()
except BaseException:
    pass
""",
}
PROGRAM = """
import multiprocessing, sys, time
from wsss_lightning.utils import interrupts

def wait():
    print("ready", flush=True)
    for _ in range(600):  # a signal right before a call that sleeps is handled behind the call
        time.sleep(0.1)

interrupts.GRACE = float(sys.argv[2])
interrupts.install()
multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)).start()
try:
    with interrupts.watched():
        exec(sys.argv[1])
except interrupts.Interrupted:
    interrupts.leave()
"""


@pytest.fixture(autouse=True)
def _interruptible():
    """Commands in the background of a shell ignore SIGINT, and so do processes that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def begun(work, grace):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, work, str(grace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_an_interrupt_is_answered_once_and_ends_all_processes(work):
    process = begun(work, grace=0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == interrupts.EXIT_CODE == 130
    assert said == interrupts.MESSAGE
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # none of its group is left


def test_a_second_interrupt_does_not_wait():
    process = begun(WORK["catches everything"], grace=60)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, interrupts.MESSAGE)
    assert time.monotonic() - begin < 20


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), interrupts.watched():
        raise ZeroDivisionError
