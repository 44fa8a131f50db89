"""Time the building of a step's manifest, and the verification of a step against it."""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsss_lightning.cache import manifest


def timed(name: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = work()
    print(f"{name:<38} {time.perf_counter() - start:6.2f} s")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--bytes", type=int, default=30_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, noise = Path(folder), os.urandom(args.bytes)
        for i in range(args.files):
            (root / f"{i:06d}.npz").write_bytes(i.to_bytes(4, "big") + noise[4:])
        entries = timed("built, all files read", lambda: manifest.build(root))
        timed("verified, nothing touched", lambda: manifest.find_changes(root, entries))
        os.utime(root / "000000.npz")
        timed("verified, one file touched", lambda: manifest.find_changes(root, entries))
        for path in root.iterdir():
            os.utime(path)
        timed("verified, all files touched: all read", lambda: manifest.find_changes(root, entries))


if __name__ == "__main__":
    main()
