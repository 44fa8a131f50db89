"""What it costs to make a stage's manifest, and to hold a stage against it."""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsss_lightning.cache import manifest


def timed(name: str, work: Callable[[], Any]) -> Any:
    begun = time.perf_counter()
    result = work()
    print(f"{name:<38} {time.perf_counter() - begun:6.2f} s")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--bytes", type=int, default=30_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, noise = Path(folder), os.urandom(asked.bytes)
        for i in range(asked.files):
            (root / f"{i:06d}.npz").write_bytes(i.to_bytes(4, "big") + noise[4:])
        listed = timed("manifest made, all files read", lambda: manifest.build(root))
        timed("found, times as they were", lambda: manifest.find_changes(root, listed))
        os.utime(root / "000000.npz")
        timed("found, one file touched", lambda: manifest.find_changes(root, listed))
        for path in root.iterdir():
            os.utime(path)
        timed("found, all files touched: all read", lambda: manifest.find_changes(root, listed))


if __name__ == "__main__":
    main()
