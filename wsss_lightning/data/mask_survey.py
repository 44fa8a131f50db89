"""Detects masks whose ids, colours or palettes contradict the classes of the dataset."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wsss_lightning.data.sources.colours import Colour
from wsss_lightning.data.sources.masks import BACKGROUND, IGNORED, MaskContent, MaskReader
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE, voc_palette
from wsss_lightning.utils.text import shorten

MAX_UNNAMED: Final = 0.05  # share of pixels without a name, above which masks are refused
MAX_UNNAMED_IDS: Final = 8  # ids without a name in one mask; resampled masks or JPEG have more
EXAMPLE: Final = "{background: [0, 0, 0], cat: [64, 0, 0]}"  # of `mask_colours`


@dataclass
class MaskSurvey:
    """Masks of a split, or a sample of them, compared with tags and the colours of VOC.

    Args:
        reader: converts ids or colours to labels.
        split: named in messages.
    """

    reader: MaskReader
    split: str
    contents: list[MaskContent] = field(default_factory=list)
    tagged: list[frozenset[int]] = field(default_factory=list)

    def add(self, content: MaskContent, tagged: Iterable[int]) -> None:
        """Add a mask.

        Args:
            content: content of the mask.
            tagged: labels 1 to c of the tags of its image.
        """
        self.contents.append(content)
        self.tagged.append(frozenset(tagged))

    def never_shown(self) -> dict[int, list[MaskContent]]:
        """Classes that no mask shows although images are tagged with them, and their masks."""
        masks: dict[int, list[MaskContent]] = {}
        shown: set[int] = set()
        for content, tagged in zip(self.contents, self.tagged, strict=True):
            for label in tagged:
                masks.setdefault(label, []).append(content)
                if content.labels.get(label):
                    shown.add(label)
        return {label: masks[label] for label in sorted(masks) if label not in shown}

    def problems(self) -> list[str]:
        """Reasons why the masks cannot be right; empty if there is none."""
        checks: list[Callable[[], str]] = [
            self._check_ids,
            self._check_palettes_agree,
            self._check_palette_order,
            self._check_tags,
            self._check_unnamed,
        ]
        return [problem for problem in (check() for check in checks) if problem]

    def check(self) -> None:
        """Raise the first problem as an `InputError`."""
        for problem in self.problems():
            raise InputError(problem)

    def notes(self) -> list[str]:
        """Remarks for the user that do not prevent the use of the masks."""
        unnamed, total = self._count_unnamed()
        if not unnamed or self.reader.unmapped is not None:
            return []
        share = 100 * sum(unnamed.values()) / total
        values = self.contents[0].describe(sorted(unnamed, key=lambda v: -unnamed[v]))
        return [f"{values} of the masks have no name and are ignored ({share:.1f} % of pixels)"]

    def _check_ids(self) -> str:
        """Ids that are no labels."""
        for content in self.contents:
            if content.labels.get(-1):
                invalid = [v for v in content.pixels if self.reader.label_of(v) == -1]
                share = 100 * content.labels[-1] / sum(content.pixels.values())
                return (
                    f"{content.path} holds id {shorten(invalid)} ({share:.1f} % of its pixels), "
                    f"but labels are 0 (background) to {len(self.reader.classes)} and {IGNORE} "
                    "(ignored); give the class of each id by `mask_ids`, as in {0: background, 8: "
                    "cat}."
                )
        return ""

    def _check_palettes_agree(self) -> str:
        """An id with different colours in two masks."""
        first: dict[int, tuple[Colour, Path]] = {}
        for content in self.contents:
            if content.is_grey():
                continue
            for number, colour in content.palette.items():
                before, path = first.setdefault(number, (colour, content.path))
                if before != colour:
                    return (
                        f"the id {number} has the colour {list(before)} in {path} and "
                        f"{list(colour)} in {content.path}: each palette has its own order, so ids "
                        f"mean nothing; give the colour of each class by `mask_colours`, as in "
                        f"{EXAMPLE} (or save masks as grey levels, mode L, if their ids are right)."
                    )
        return ""

    def _check_palette_order(self) -> str:
        """An id in the colour that VOC gives to another label."""
        if self.reader.mapped:  # the meaning of ids is given, and may differ from VOC's
            return ""
        label_of = {colour: label for label, colour in enumerate(_voc_colours())}
        for content in self.contents:
            other = {
                number: label_of[colour]
                for number, colour in content.palette.items()
                # unused entries of palettes are black
                if label_of.get(colour, number) != number and any(colour)
            }
            if other and not content.is_grey():
                number, label = next(iter(other.items()))
                share = 100 * content.pixels[number] / sum(content.pixels.values())
                return (
                    f"{content.path} has the id {number} ({share:.1f} % of its pixels) in the "
                    f"colour {list(content.palette[number])}, which Pascal VOC uses for label "
                    f"{label}: the palette is in another order. Give the colour of each class by "
                    f"`mask_colours`, as in {EXAMPLE}, or the class of each id by `mask_ids`."
                )
        return ""

    def _check_tags(self) -> str:
        """A class that is tagged, but that no mask shows."""
        for label, masks in self.never_shown().items():
            pixels, labels = Counter[int](), Counter[int]()
            for content in masks:
                pixels.update(content.pixels)
                labels.update(content.labels)
            if len(masks) < 3 and labels[IGNORE] == 0 and not masks[0].unnamed:
                continue  # in one or two images, the object may be too small
            name = self.reader.classes[label - 1]
            share = {value: 100 * n / pixels.total() for value, n in pixels.most_common(8)}
            shown = ", ".join(
                f"{masks[0].describe_one(value)} ({part:.1f} %)" for value, part in share.items()
            )
            kind = "colours" if masks[0].of_colours else "ids"
            other = next((i for i in pixels if i != 0), 1)
            hint = f"`mask_ids`, as in {{0: background, {other}: {name}}}"
            if masks[0].of_colours:
                hint = f"`mask_colours`, as in {{{name}: [128, 0, 0]}}"
            return (
                f"{len(masks)} images of {self.split} that are tagged {name} have masks without a "
                f"pixel of {name}; their {kind} are {shown} of all pixels (for example "
                f"{masks[0].path}). Give the class of the {kind} by {hint}, or correct the tags."
            )
        return ""

    def _check_unnamed(self) -> str:
        """Many pixels of ids or colours that have no name."""
        if self.reader.unmapped is not None:
            return ""
        unnamed, total = self._count_unnamed()
        blurred = [c for c in self.contents if len(c.unnamed) > MAX_UNNAMED_IDS]
        few = sum(unnamed.values()) <= MAX_UNNAMED * total
        if few and 2 * len(blurred) <= len(self.contents):
            return ""
        worst = max(self.contents, key=lambda c: sum(c.unnamed.values()) / sum(c.pixels.values()))
        most = sorted(worst.unnamed, key=lambda value: -worst.unnamed[value])
        share = 100 * sum(worst.unnamed.values()) / sum(worst.pixels.values())
        parameter = "mask_colours" if worst.of_colours else "mask_ids"
        cause = (
            f" So many in one mask ({len(worst.unnamed)}) come from JPEG or from resizing that "
            "blends ids; save masks as PNG, and resize them by nearest neighbour."
            if blurred
            else ""
        )
        return (
            f"{worst.path} has {worst.describe(most)}, {share:.1f} % of its pixels, which "
            f"`{parameter}` does not name; over {self.split} these are "
            f"{100 * sum(unnamed.values()) / total:.1f} %. Name them there ({IGNORED} is a name "
            f"too), or set `unmapped` to {IGNORED} or {BACKGROUND}.{cause}"
        )

    def _count_unnamed(self) -> tuple[Counter[int], int]:
        """Pixels of each id or colour without a name, and of all masks."""
        unnamed, total = Counter[int](), 0
        for content in self.contents:
            unnamed.update(content.unnamed)
            total += sum(content.pixels.values())
        return unnamed, total


def _voc_colours() -> list[Colour]:
    return [tuple(voc_palette()[i : i + 3]) for i in range(0, 768, 3)]  # type: ignore[misc]
