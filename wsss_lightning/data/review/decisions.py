"""Decisions about images, tags and pseudo masks, and the CSV file that holds them.

A row is (name, class, decision, detail, time). Rows are only ever appended. The last row of a name,
class and kind counts; shapes have an `id` of their own in addition. Pixels are counted from the
top left corner of the image as it is trained on, to the right and down; the centre of the first
pixel is at (0.5, 0.5).
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsss_lightning.data.sources.masks import BACKGROUND
from wsss_lightning.errors import InputError, did_you_mean

COLUMNS: Final = ("name", "class", "decision", "detail", "time")
Kind = Literal["accept", "reject", "undecided", "tag", "ignore", "box", "scribble"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
VERDICTS: Final = ("accept", "reject", "undecided")
SHAPES: Final = ("ignore", "box", "scribble")
MAX_POINTS: Final = 20_000  # of a shape
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Point = tuple[Number, Number]
Side = Annotated[int, Field(ge=1)]
Identity = Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]


class _Detail(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Verdict(_Detail):
    """Detail of `accept`, `reject` and `undecided`: nothing."""


class Tag(_Detail):
    """Whether the image shows the class; None: as the data set says."""

    present: bool | None


class Region(_Detail):
    """A polygon whose pixels are ignored in training; `size` is (W, H) of the image."""

    id: Identity
    size: tuple[Side, Side]
    points: Annotated[list[Point], Field(min_length=3, max_length=MAX_POINTS)]


class Box(_Detail):
    """A box (x0, y0, x1, y1) that holds an object of the class; `size` is (W, H) of the image."""

    id: Identity
    size: tuple[Side, Side]
    box: tuple[Number, Number, Number, Number]


class Scribble(_Detail):
    """A stroke of `width` pixels on one class or on background; `size` is (W, H) of the image."""

    id: Identity
    size: tuple[Side, Side]
    points: Annotated[list[Point], Field(min_length=1, max_length=MAX_POINTS)]
    width: Annotated[float, Field(gt=0, le=1e4)]


class Removed(_Detail):
    """Takes a shape away."""

    id: Identity
    removed: Literal[True]


Shape = Region | Box | Scribble
_SHAPE_OF: Final[Mapping[str, type[_Detail]]] = {
    "ignore": Region,
    "box": Box,
    "scribble": Scribble,
}


@dataclass(frozen=True)
class Decision:
    """One row of the file.

    Args:
        name: name of the image.
        class_name: a class, `background` (scribbles only), or empty for the whole image.
        kind: one of `KINDS`.
        detail: fields of `Tag`, `Region`, `Box`, `Scribble` or `Removed`; empty for verdicts.
        time: UTC, ISO 8601.
    """

    name: str
    class_name: str
    kind: str
    detail: Mapping[str, Any]
    time: str

    @property
    def parsed(self) -> _Detail:
        """The detail as an object of its class.

        Raises:
            ValueError: kind, class and detail do not fit together.
        """
        if self.kind not in KINDS:
            raise ValueError(f"decision is {self.kind!r}; {did_you_mean(self.kind, KINDS)}")
        self._check_class()
        if self.kind in VERDICTS:
            model: type[_Detail] = Verdict
        elif self.kind == "tag":
            model = Tag
        else:
            model = Removed if "removed" in self.detail else _SHAPE_OF[self.kind]
        try:
            return model.model_validate(dict(self.detail))
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, ("detail", *fault["loc"])))
            raise ValueError(f"{place}: {fault['msg']}") from error

    def _check_class(self) -> None:
        if self.kind in ("tag", "box", "scribble") and not self.class_name:
            raise ValueError(f"a {self.kind} needs a class, but its class is empty")
        if self.kind == "ignore" and self.class_name:
            raise ValueError(f"an ignored region has no class, but its class is {self.class_name}")
        if self.class_name == BACKGROUND and self.kind != "scribble":
            raise ValueError(f"a {self.kind} is about a class, but its class is {BACKGROUND}")

    def as_row(self) -> bytes:
        """The line of the file, with its line break."""
        text = io.StringIO(newline="")
        detail = json.dumps(dict(self.detail), separators=(",", ":"), ensure_ascii=False)
        cells = (self.name, self.class_name, self.kind, detail, self.time)
        csv.writer(text, lineterminator="\n").writerow(cells)
        return text.getvalue().encode("utf-8", "surrogateescape")


def now() -> str:
    """The time, UTC, ISO 8601 with milliseconds."""
    stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


def header() -> bytes:
    """First line of the file."""
    return (",".join(COLUMNS) + "\n").encode()


def complete_length(content: bytes) -> int:
    """Number of bytes up to the end of the last complete row.

    A row that was not written to its end, because the program was killed or the disk was full,
    comes after it. A last row without line break, as editors leave it, is complete.
    """
    end = length = quotes = 0
    for line in re.findall(rb"[^\n]*\n", content):
        length += len(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0:  # the line break is not part of a cell
            end = length
    return len(content) if _is_complete(content[end:]) else end


def read_decisions(path: Path) -> list[Decision]:
    """Read all decisions, in the order in which they were made.

    The rest of a row that was not written to its end is left out.

    Raises:
        InputError: the file is missing or no such table; the message names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); give the file that `wsss-lightning review` "
            "wrote."
        ) from error
    return parse_decisions(content, path)


def parse_decisions(content: bytes, path: Path) -> list[Decision]:
    """Decisions in the content of a file.

    Args:
        content: content of the file.
        path: named in messages.

    Raises:
        InputError: as in `read_decisions`.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")  # editors on Windows
    try:
        text = content[: complete_length(content)].decode("utf-8", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise InputError(f"{path} is no CSV file ({error}); restore it.") from error
    if not rows:
        return []
    if tuple(rows[0]) != COLUMNS:
        raise InputError(
            f"{path} begins with {','.join(rows[0])[:80]!r}, but a file of decisions begins with "
            f"{','.join(COLUMNS)}; give the file that `wsss-lightning review` wrote, separated by "
            "commas."
        )
    return list(_decisions(rows[1:], path))


def _decisions(rows: Iterable[list[str]], path: Path) -> Iterable[Decision]:
    for number, row in enumerate(rows, start=2):
        if not any(row):
            continue
        try:
            yield _decision(row)
        except ValueError as error:
            raise InputError(
                f"{path}, row {number}: {error}. Correct the row, or remove it."
            ) from error


def _decision(row: list[str]) -> Decision:
    if len(row) != len(COLUMNS):
        raise ValueError(f"it has {len(row)} columns, not {len(COLUMNS)} ({','.join(COLUMNS)})")
    name, class_name, kind, text, time = row
    try:
        detail = json.loads(text or "{}")
    except ValueError as error:
        raise ValueError(f"detail is {text[:60]!r}, which is not JSON") from error
    if not isinstance(detail, dict):
        raise ValueError(f"detail is {text[:60]!r}, but must be a JSON object")
    if not name:
        raise ValueError("the name of the image is empty")
    decision = Decision(name, class_name, kind, detail, time)
    decision.parsed  # noqa: B018 (raises what is wrong)
    return decision


def _is_complete(row: bytes) -> bool:
    """Whether the last line of a file is a whole row although it has no line break."""
    try:
        (cells,) = csv.reader([row.decode("utf-8", "surrogateescape")], strict=True)
        _decision(cells)
    except (ValueError, csv.Error):
        return False
    return bool(_TIME.fullmatch(cells[-1].strip()))
