"""Text files and CSV tables, in the encodings and with the separators in common use."""

import codecs
import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from wsss_lightning.errors import InputError

SEPARATORS: Final = ",;\t|"
_MARKS: Final = (
    # UTF-32 first: its byte order mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY: Final = re.compile(r"[\0-\x08\x0e-\x1a\x1c-\x1f]")


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        line: number of the line in the file, from 1.
        cells: stripped of blanks.
    """

    line: int
    cells: list[str]


def read_text(path: Path) -> str:
    """Read text in UTF-8, UTF-16 or UTF-32 (with byte order mark), or Windows-1252.

    Raises:
        InputError: the file is not text.
    """
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "")
    try:
        text = content.decode(encoding) if encoding else _decode_unmarked(content)
        if _BINARY.search(text):
            raise ValueError("it holds control characters")
    except ValueError as error:  # includes UnicodeDecodeError
        raise InputError(f"{path} is not text ({error}); save it as UTF-8.") from error
    return text


def _decode_unmarked(content: bytes) -> str:
    if len(content) > 1 and content[1::2].count(0) > len(content) // 4:
        return content.decode("utf-16-le")  # ASCII in UTF-16: every second byte is zero
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def read_lines(path: Path) -> list[Row]:
    """Lines that are not blank, as rows of one cell."""
    # str.splitlines would also split at characters that a name may hold
    lines = re.split(r"\r\n|\r|\n", read_text(path))
    return [Row(i, [line.strip()]) for i, line in enumerate(lines, start=1) if line.strip()]


def read_table(path: Path) -> list[Row]:
    """Rows of a CSV file that are not blank.

    The separator is the comma, semicolon, tab or bar that the first line holds most often outside
    quotes. A line `sep=;`, as spreadsheets write it, overrides this.

    Raises:
        InputError: the file is empty, or is not CSV.
    """
    lines, separator = read_table_lines(path)
    if not separator:
        first = next((line for line in lines if line.strip()), "")
        bare = re.sub(r'"[^"]*"', "", first)
        separator = max(SEPARATORS, key=bare.count)
    return parse_table(path, lines, separator)


def read_table_lines(path: Path) -> tuple[list[str], str]:
    """Lines of a CSV file, and the separator of its line `sep=;`, which is left blank.

    Returns:
        The separator is empty if there is no such line.
    """
    lines = re.split(r"\r\n|\r|\n", read_text(path))
    if match := re.fullmatch(r'"?sep=(.)"?', lines[0].strip(" ")):
        return ["", *lines[1:]], match[1]
    return lines, ""


def parse_table(path: Path, lines: Sequence[str], separator: str) -> list[Row]:
    """Rows of a table that are not blank.

    Args:
        path: named in messages.
        lines: lines of the file.
        separator: one character.

    Raises:
        InputError: the table is empty, or is not CSV.
    """
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=separator)
    rows = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                rows.append(Row(reader.line_num, stripped))
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}, cannot be read as CSV ({error}); correct the line."
        ) from error
    if not rows:
        raise InputError(f"{path} is empty; write a header and a row for each image.")
    return rows
