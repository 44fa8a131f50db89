"""Run the whole kit on generated images with small networks; needs no data, weights or GPU.

    python experiments/reproduce/voc2012/dry_run.py [FOLDER]

It ends with check.py, which must report no row as reproduced: the exit status is 0 if every recipe
has scores and the verdict of each row is that settings differ.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from check import check, show
from fake_voc import write

KIT = Path(__file__).parent


def dry_run(folder: Path) -> list[str]:
    """Errors; empty if all recipes ran and check.py reports that settings differ."""
    root, runs = write(folder / "VOC2012"), folder / "runs"
    start = [sys.executable, str(KIT / "run.py"), str(root), "--sweep", "small", "--incomplete"]
    subprocess.run([*start, "--runs", str(runs)], check=True)
    rows = check([runs])
    show(rows)
    errors = [f"{row.recipe}, {row.score.key}: not scored" for row in rows if not row.values]
    return errors + [
        f"{row.recipe}, {row.score.key}: {row.verdict}"
        for row in rows
        if not row.verdict.startswith("settings differ")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="new folder for data and runs")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        errors = dry_run(folder or Path(temporary) / "kit")
    print("\n".join(errors) or "all recipes ran, and none is reported as reproduced")
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
