"""Tables of tags as spreadsheets and programs write them.

Tags are words in one or several columns, columns of 0 and 1, or classes of boxes.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wsss_lightning.data.folder.labels import Labels
from wsss_lightning.data.folder.photos import Photo, Photos
from wsss_lightning.data.folder.table_structure import BINARY, Table, open_table
from wsss_lightning.data.folder.words import split_at_blanks, split_words, tidy
from wsss_lightning.data.sources.boxes import RawBox, numbers_of
from wsss_lightning.data.sources.names import folded
from wsss_lightning.errors import InputError
from wsss_lightning.utils.text import shorten

# headings of columns of words, in the languages of the tables that we know of
GENERIC: Final = re.compile(
    r"((image|photo|class|my) )?(tag|label|class|categor(y|ie)|keyword|klasse|kategorie|etikett"
    r"|classe|catégorie|étiquette|etiqueta|categoría|clase|(schlag|stich)w(o|ö)rt)"
    r"(s|es|n|en|e|er)?( names?| text| list)?( ?\d+)?|categories"
)
SUBJECTS: Final = re.compile(r"(animal|object|species|tier|objekt|art)(s|es|e|en)?( ?\d+)?")
BOX_COLUMNS: Final = (
    ("x0", "y0", "x1", "y1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x min", "y min", "x max", "y max"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
NUMBER: Final = re.compile(r"[+-]?\d+([.,]\d+)*(e[+-]?\d+)?%?", re.IGNORECASE)


def read_tags(path: Path, photos: Photos, columns: Sequence[str] | None) -> Labels:
    """Read a table of tags.

    Args:
        path: path of the table.
        photos: the photos that it may name.
        columns: headings of the columns that hold tags; None: they are found.

    Raises:
        InputError: no column names photos, no column or several kinds of columns may hold tags, or
            a row cannot be used; the message names columns and line.
    """
    table = open_table(path, photos)
    chosen = _chosen_columns(table, columns)
    binary = all(_is_binary(table, i) for i in chosen)
    sides = None if binary or len(chosen) != 1 else box_columns(table.header)
    if sides is not None:
        labels = _read_boxes(table, photos, chosen[0], sides)
    else:
        labels = (_read_columns if binary else _read_words)(table, photos, chosen)
    names = ", ".join(table.heading(i) for i in chosen[:8]) + (", ..." if len(chosen) > 8 else "")
    kind = "boxes" if sides is not None else "0/1" if binary else "words"
    photo_column = table.heading(table.name_column)
    labels.source = f"{path.name}: photos from {photo_column}, tags ({kind}) from {names}"
    read = {*chosen, *(sides or ())}
    unused = [table.heading(i) for i in table.others if i not in read and table.column(i)]
    if unused:
        labels.notes.append(f"columns that are not read: {shorten(unused, 8)}")
    return labels


def _chosen_columns(table: Table, columns: Sequence[str] | None) -> list[int]:
    """Columns that hold tags."""
    if columns is not None:
        named = [_column_called(table, name) for name in columns]
        if len({_is_binary(table, i) for i in named}) > 1:
            raise InputError(
                f"`tag_columns` is [{', '.join(columns)}], of which some hold 0 and 1 and others "
                "words; name columns of one kind."
            )
        return named
    filled = [i for i in table.others if table.column(i)]
    words = [i for i in filled if not _is_binary(table, i) and not _is_numeric(table, i)]
    binary = [i for i in filled if table.header_of(i) and _is_binary(table, i)]
    known = [i for i in filled if _is_known(table, i, GENERIC) and i not in binary]
    known = known or [i for i in words if _is_known(table, i, SUBJECTS)]
    if len({re.sub(r"[\d ]+$", "", folded(table.header[i])) for i in known}) > 1:
        raise InputError(_several(table, known))
    if known:
        # words of unquoted cells run on into columns without heading
        return known + [i for i in words if i > known[-1] and not table.header_of(i)]
    if not table.header:
        if words:
            return words
        raise InputError(_no_tags(table, "its first line has no headings, which name the classes"))
    categorical = [i for i in words if _is_categorical(table, i)]
    if binary and not categorical:
        _check_headings(table, binary)
        return binary
    if not binary and 1 in (len(words), len(categorical)):
        return words if len(words) == 1 else categorical
    if not words and not binary:
        raise InputError(_no_tags(table, "no column holds words, or 0 and 1"))
    raise InputError(_several(table, sorted({*categorical, *binary} or words)))


def _check_headings(table: Table, binary: Sequence[int]) -> None:
    """Each column of 0 and 1 is headed by a class of its own."""
    for i in binary:
        if [folded(table.header[k]) for k in binary].count(folded(table.header[i])) > 1:
            raise InputError(
                f"{table.path} has several columns {table.header[i]} of 0 and 1; keep one."
            )
        if _is_known(table, i, GENERIC):
            raise InputError(
                f"{table.path} has a column {table.header[i]} of 0 and 1, but such a column is "
                "headed by the name of its class; name the class there, or write words into it."
            )


def _several(table: Table, columns: Sequence[int]) -> str:
    names = [table.heading(i) for i in columns]
    return (
        f"{table.path} has several columns that may hold tags ({shorten(names, 8)}); name those "
        f"that do by `tag_columns`, as in [{names[0]}]."
    )


def _no_tags(table: Table, reason: str) -> str:
    first = table.rows[0]
    return (
        f"{table.path} names photos in {table.heading(table.name_column)}, but no tags: {reason} "
        f"(line {first.line} is {','.join(first.cells)[:80]!r}). Write the classes that a photo "
        "shows beside its name, or a column of 0 and 1 for each class."
    )


def _column_called(table: Table, name: str) -> int:
    matches = [i for i in table.others if folded(table.heading(i)) == folded(name)]
    if len(matches) != 1:
        known = [table.heading(i) for i in table.others]
        raise InputError(
            f"`tag_columns` names {name}, of which {table.path} has {len(matches) or 'none'}; its "
            f"columns besides that of the photos are {', '.join(known)}."
        )
    return matches[0]


def _is_known(table: Table, i: int, pattern: re.Pattern[str]) -> bool:
    return bool(pattern.fullmatch(folded(table.header_of(i))))


def _is_binary(table: Table, i: int) -> bool:
    return bool(table.column(i)) and all(cell.lower() in BINARY for cell in table.distinct(i))


def _is_numeric(table: Table, i: int) -> bool:
    """Whether a column holds numbers or dates, which are no tags."""
    return all(
        NUMBER.fullmatch(cell) or re.fullmatch(r"[\d.:/TZ +-]+", cell) for cell in table.distinct(i)
    )


def _is_categorical(table: Table, i: int) -> bool:
    """Whether words of a column recur, as tags do and remarks do not."""
    words = [word for cell in table.column(i) for word in split_words(cell)]
    return len(set(words)) * 2 <= len(words)


def _read_words(table: Table, photos: Photos, columns: Sequence[int]) -> Labels:
    labels = Labels()
    for line, cells in table.rows:
        photo = _photo(table, photos, line, cells, labels)
        if photo is None:
            continue
        words = labels.words.setdefault(photo.name, [])
        for i in columns:
            if i < len(cells):
                words += [w for w in split_words(cells[i]) if w not in words]
    labels.words = split_at_blanks(labels.words)
    return labels


def box_columns(header: Sequence[str]) -> list[int] | None:
    """Columns of the left, upper, right and lower side of a box; None if the table has none."""
    known = [folded(word) for word in header]
    for sides in BOX_COLUMNS:
        if all(side in known for side in sides):
            return [known.index(side) for side in sides]
    return None


def _read_boxes(table: Table, photos: Photos, column: int, sides: Sequence[int]) -> Labels:
    """A table with a box in each row, in pixels from 0, ends exclusive; a row without is a tag."""
    labels = Labels()
    for line, cells in table.rows:
        photo = _photo(table, photos, line, cells, labels)
        word = cells[column] if column < len(cells) else ""
        if photo is None:
            continue
        texts = [cells[i] if i < len(cells) else "" for i in sides]
        box = RawBox(word, numbers_of(texts), False, ", ".join(texts), f"line {line}")
        labels.add(photo, table.path, [word], [box] if any(texts) else [])
    return labels


def _read_columns(table: Table, photos: Photos, columns: Sequence[int]) -> Labels:
    labels = Labels()
    headings = {i: tidy(table.heading(i)) for i in columns}
    present = {i: {cell.lower() for cell in table.distinct(i)} for i in columns}
    for i, cells in present.items():
        if "-1" in cells and any(BINARY[cell] == 0 for cell in cells - {"-1"}):
            raise InputError(
                f"{table.path} has both 0 and -1 in the column {headings[i]}; write 1 for photos "
                "that show the class, and 0 for all others."
            )
    # where some cells say no, an empty one may mean that nobody looked
    has_zeros = any(BINARY[cell] == 0 for cells in present.values() for cell in cells)
    blank = 0
    for line, row in table.rows:
        photo = _photo(table, photos, line, row, labels)
        if photo is None:
            continue
        values = {i: row[i].lower() if i < len(row) else "" for i in columns}
        words = [headings[i] for i, value in values.items() if value and BINARY[value]]
        blank += list(values.values()).count("")
        if labels.words.setdefault(photo.name, words) != words:
            raise InputError(
                f"{table.path}, line {line}, has other tags for {photo.relative} than an earlier "
                "line; keep one of them."
            )
    if blank and has_zeros:
        labels.notes.append(f"{blank} empty cells in columns of 0 and 1 count as 0")
    return labels


def _photo(
    table: Table, photos: Photos, line: int, cells: Sequence[str], labels: Labels
) -> Photo | None:
    """The photo of a row; None if it names none, which `labels` keeps."""
    text = cells[table.name_column] if table.name_column < len(cells) else ""
    if not text:
        labels.notes.append(f"line {line} of {table.path.name} names no photo")
        return None
    photo = photos.match(text, f"{table.path}, line {line},")
    if photo is None and not photos.is_skipped(text):
        labels.missing.append(text)
    return photo
