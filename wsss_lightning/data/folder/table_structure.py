"""The structure of a table of photos: separator, header, and the column that names photos.

They are found by comparing cells with the files.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from wsss_lightning.data.folder.photos import Photos
from wsss_lightning.data.folder.words import split_words
from wsss_lightning.data.images import SUFFIXES
from wsss_lightning.data.sources.names import folded
from wsss_lightning.data.sources.tags import NAME_COLUMNS, VALUES
from wsss_lightning.data.sources.text import SEPARATORS, Row, parse_table, read_table_lines
from wsss_lightning.errors import InputError
from wsss_lightning.utils.text import shorten

BINARY: Final = VALUES | {"-1": 0}


@dataclass(frozen=True)
class Table:
    """A table whose structure is known.

    Args:
        path: path of the file.
        header: headings; empty if the table has none.
        rows: rows without the header.
        name_column: column that names photos.
        evidence: how well it does so, for comparison: whether a name has a suffix, number of
            photos, whether the heading is a known one, number of rows with further cells.
    """

    path: Path
    header: list[str]
    rows: list[Row]
    name_column: int
    evidence: tuple[bool, int, bool, int] = (False, 0, False, 0)

    @cached_property
    def _columns(self) -> list[list[str]]:
        width = max(len(self.header), *(len(row.cells) for row in self.rows), 0)
        columns: list[list[str]] = [[] for _ in range(width)]
        for row in self.rows:
            for column, cell in zip(columns, row.cells, strict=False):
                if cell:
                    column.append(cell)
        return columns

    def column(self, i: int) -> list[str]:
        """Cells of a column that are not empty."""
        return self._columns[i]

    def distinct(self, i: int) -> set[str]:
        """Distinct cells of a column that are not empty."""
        return set(self._columns[i])

    def header_of(self, i: int) -> str:
        """Heading of a column; empty if it has none."""
        return self.header[i] if i < len(self.header) else ""

    def heading(self, i: int) -> str:
        """Heading of a column, or its number."""
        return self.header_of(i) or f"column {i + 1}"

    @property
    def others(self) -> list[int]:
        """Columns that do not name photos."""
        return [i for i in range(len(self._columns)) if i != self.name_column]


def open_table(path: Path, photos: Photos) -> Table:
    """Find separator, name column and header of a table by comparing its cells with the photos.

    Raises:
        InputError: no column names a photo.
    """
    lines, separator = read_table_lines(path)
    best: Table | None = None
    for candidate in separator or (*SEPARATORS, " "):
        if candidate == " " and best is not None:
            break  # blanks are part of names and tags, unless no other separator fits
        rows = parse_table(path, lines, candidate)
        found = _find_names(path, rows, photos)
        if found is not None and (best is None or found.evidence > best.evidence):
            best = found
    if best is None:
        files = shorten([photo.relative for photo in photos.photos])
        first = next((line for line in lines if line.strip()), "")
        raise InputError(
            f"{path} names none of the {len(photos.photos)} photos in {photos.root} ({files}); it "
            f"begins with {first[:80]!r}. Write the file name of a photo into each row, or set "
            "`root` to the folder of these photos."
        )
    return best


def _find_names(path: Path, rows: Sequence[Row], photos: Photos) -> Table | None:
    """The table with the column that names photos; None if no column does.

    Names with suffix decide, then the number of photos, then a known heading.

    Raises:
        InputError: two columns name photos equally well, but different ones.
    """
    tables: list[Table] = []
    for i in range(max(len(row.cells) for row in rows)):
        cells = _cells(rows, i)
        look_up = photos.shortened(cells)
        if any(photos.find(look_up(cell)) for cell in cells):
            changed = [row._replace(cells=_with(row.cells, i, look_up)) for row in rows]
            has_header = _is_header(changed, i, photos)
            header = changed[0].cells if has_header else []
            table = Table(path, header, changed[1:] if has_header else changed, i)
            tables.append(replace(table, evidence=_evidence(table, photos)))
    if not tables:
        return None
    tables.sort(key=lambda table: table.evidence, reverse=True)
    first, *others = tables
    for other in others:
        if other.evidence[:2] == first.evidence[:2] and not _agree(first, other, photos):
            if _has_known_heading(first) and not _has_known_heading(other):
                continue
            names = [table.heading(table.name_column) for table in (first, other)]
            raise InputError(
                f"{path} names photos in {names[0]} and, differently, in {names[1]}; call the "
                "column of the file names image, or write their suffixes."
            )
    return first


def _evidence(table: Table, photos: Photos) -> tuple[bool, int, bool, int]:
    """How well a column names photos, for comparison."""
    cells = {cell for cell in table.distinct(table.name_column) if photos.find(cell)}
    suffixes = any(cell.lower().endswith(SUFFIXES) for cell in cells)
    named = {photo.name for cell in cells for photo in photos.find(cell)}
    wide = sum(len(row.cells) > 1 for row in table.rows)
    return suffixes, len(named), _has_known_heading(table), wide


def _has_known_heading(table: Table) -> bool:
    return folded(table.header_of(table.name_column)) in map(folded, NAME_COLUMNS)


def _agree(one: Table, other: Table, photos: Photos) -> bool:
    """Whether two columns name the same photos in the same rows."""
    first, second = ({r.line: r.cells for r in table.rows} for table in (one, other))
    return all(
        photos.find(first[line][one.name_column]) == photos.find(second[line][other.name_column])
        for line in first.keys() & second.keys()
        if max(one.name_column, other.name_column) < len(first[line])
    )


def _cells(rows: Iterable[Row], i: int) -> set[str]:
    return {row.cells[i] for row in rows if i < len(row.cells) and row.cells[i]}


def _with(cells: Sequence[str], i: int, change: Callable[[str], str]) -> list[str]:
    """Cells of a row with a change to one of them, where the row has it."""
    return [change(cell) if k == i else cell for k, cell in enumerate(cells)]


def _is_header(rows: Sequence[Row], name_column: int, photos: Photos) -> bool:
    """Whether the first row is a header: it names no photo, and its words are not tags below."""
    first = rows[0].cells
    name = first[name_column] if name_column < len(first) else ""
    if photos.is_skipped(name) or name.lower().endswith(SUFFIXES):
        return False
    others = [cell for i, cell in enumerate(first) if i != name_column and cell]
    words = [word for cell in others for word in split_words(cell)]
    cells = {cell for row in rows[1:] for i, cell in enumerate(row.cells) if i != name_column}
    below = {word for cell in cells for word in split_words(cell)}
    are_tags = bool(words) and all(word in below or word.lower() in BINARY for word in words)
    if folded(name) in map(folded, NAME_COLUMNS):
        return not are_tags
    return not photos.find(name) and not are_tags
