"""Write the generated part of a page: `python docs/generate.py bad_input`.

Every case of `tests/helpers/bad_input.py` is run, and its answer becomes a row of the page.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests/pipelines"


def bad_input() -> None:
    sys.path.insert(0, str(ROOT / "tests/helpers"))
    from bad_input import BEGIN, CASES, END, block

    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "rows"
        test = TESTS / "test_bad_input.py::test_bad_input_is_answered_before_work_starts"
        command = [sys.executable, "-m", "pytest", "-q", str(test)]
        subprocess.run(
            command, cwd=ROOT, env={**os.environ, "WSSS_RECORD_ANSWERS": str(record)}, check=True
        )
        rows = record.read_text().splitlines()
    page = ROOT / "docs/bad_input.md"
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    generated = block(dict(zip(CASES, rows, strict=True)))
    page.write_text(before + generated + after)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("page", choices=["bad_input"])
    parser.parse_args()
    bad_input()
