"""The tests that the documentation names exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs/bad_input.md"
pytestmark = pytest.mark.skipif(not TABLE.is_file(), reason="docs/ is not in the sdist")


def rows() -> list[tuple[str, str, str]]:
    return re.findall(r"^\| (.+?) \| (.+?) \| `(tests/.+)` \|$", TABLE.read_text(), re.MULTILINE)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def strings(path: Path) -> list[str]:
    """Text in a module as it reads when its f-strings are filled with anything."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "\0" for p in node.values)
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def test_the_table_of_bad_input_is_long():
    lines = [line for line in TABLE.read_text().splitlines() if "| `tests/" in line]
    assert len(rows()) == len(lines) >= 60


def test_every_test_that_the_table_names_exists():
    missing = []
    for _, _, name in rows():
        file, _, case = name.partition("::")
        function, _, example = case.partition("[")
        functions = {n.name for n in ast.walk(tree(ROOT / file)) if isinstance(n, ast.FunctionDef)}
        said = strings(ROOT / file)
        parts = example.removesuffix("]").split(" ")
        # an example is named by a string of the file, or by several with blanks between them
        known = not example or example[:-1] in said or set(parts) <= {*said, ""}
        if function not in functions or not known:
            missing.append(name)
    assert missing == []
