"""Checks whether masks can show what their images are tagged with, before work starts."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wsss_lightning.data.sources.masks import (
    BACKGROUND,
    IGNORED,
    Colour,
    MaskContent,
    MaskReader,
)
from wsss_lightning.data.sources.names import some
from wsss_lightning.ops.masks import IGNORE, voc_palette

MANY: Final = 0.05  # share of pixels that no mapping names, above which masks are refused
BLURRED: Final = 8  # ids without a name in an image; masks that were resampled or JPEG have more


@dataclass
class MaskSurvey:
    """Masks of a split, or a sample of them, compared with tags and VOC's colours.

    Args:
        reader: by which labels are read.
        split: named in messages.
    """

    reader: MaskReader
    split: str
    contents: list[MaskContent] = field(default_factory=list)
    tagged: list[frozenset[int]] = field(default_factory=list)

    def add(self, content: MaskContent, tagged: Iterable[int]) -> None:
        """Args: tagged: labels 1..c that the image is tagged with."""
        self.contents.append(content)
        self.tagged.append(frozenset(tagged))

    def unseen(self) -> dict[int, list[MaskContent]]:
        """Masks of the images tagged with a class, of classes that none of these masks shows."""
        masks: dict[int, list[MaskContent]] = {}
        seen: set[int] = set()
        for content, tagged in zip(self.contents, self.tagged, strict=True):
            for label in tagged:
                masks.setdefault(label, []).append(content)
                if content.labels.get(label):
                    seen.add(label)
        return {label: masks[label] for label in sorted(masks) if label not in seen}

    def problems(self) -> list[str]:
        """Why these masks cannot be what the data set's classes say; empty where they may be."""
        checks: list[Callable[[], str]] = [
            self._forbidden,
            self._palettes_differ,
            self._palette_contradicts,
            self._never_shown,
            self._many_unnamed,
        ]
        return [problem for problem in (check() for check in checks) if problem]

    def notes(self) -> list[str]:
        """What a user should know, though work can start."""
        unnamed, total = self._unnamed()
        if not unnamed or self.reader.unmapped is not None:
            return []
        share = 100 * sum(unnamed.values()) / total
        what = self.contents[0].describe(sorted(unnamed, key=lambda v: -unnamed[v]))
        return [f"{what} of the masks have no name and are ignored ({share:.1f} % of pixels)"]

    def _forbidden(self) -> str:
        for content in self.contents:
            if content.labels.get(-1):
                bad = [v for v in content.pixels if self.reader.label_of(v) == -1]
                share = 100 * content.labels[-1] / sum(content.pixels.values())
                return (
                    f"{content.path} holds id {some(bad)} ({share:.1f} % of its pixels), but "
                    f"labels are 0 (background) to {len(self.reader.classes)} and {IGNORE} "
                    "(ignored); say what ids mean by data.dataset.mask_ids, as in "
                    "{0: background, 8: cat}."
                )
        return ""

    def _palettes_differ(self) -> str:
        first: dict[int, tuple[Colour, Path]] = {}
        for content in self.contents:
            if content.is_grey():
                continue
            for number, colour in content.palette.items():
                before, path = first.setdefault(number, (colour, content.path))
                if before != colour:
                    return (
                        f"the id {number} has the colour {list(before)} in {path} and "
                        f"{list(colour)} in {content.path}: each palette has an order of its own, "
                        "so ids mean nothing; give the colour of each class by "
                        "data.dataset.mask_colours, as in {background: [0, 0, 0], cat: [64, 0, 0]} "
                        "(or save masks as grey levels, mode L, if their ids are right)."
                    )
        return ""

    def _palette_contradicts(self) -> str:
        if self.reader.mapped:  # ids were given a meaning that may differ from VOC's
            return ""
        label_of = {colour: label for label, colour in enumerate(_voc_colours())}
        for content in self.contents:
            other = {
                number: label_of[colour]
                for number, colour in content.palette.items()
                # palettes are filled up with black
                if label_of.get(colour, number) != number and any(colour)
            }
            if other and not content.is_grey():
                number, label = next(iter(other.items()))
                share = 100 * content.pixels[number] / sum(content.pixels.values())
                return (
                    f"{content.path} has the id {number} ({share:.1f} % of its pixels) in the "
                    f"colour {list(content.palette[number])}, by which Pascal VOC shows label "
                    f"{label}: its palette is in another order. Give the colour of each class by "
                    "data.dataset.mask_colours, as in {background: [0, 0, 0], cat: [64, 0, 0]}, or "
                    "what each id means by data.dataset.mask_ids."
                )
        return ""

    def _never_shown(self) -> str:
        for label, masks in self.unseen().items():
            pixels, labels = Counter[int](), Counter[int]()
            for content in masks:
                pixels.update(content.pixels)
                labels.update(content.labels)
            if len(masks) < 3 and labels[IGNORE] == 0 and not masks[0].unnamed:
                continue  # of one or two images, the object may be too small
            name = self.reader.classes[label - 1]
            share = {value: 100 * n / pixels.total() for value, n in pixels.most_common(8)}
            shown = ", ".join(
                f"{masks[0].describe_one(value)} ({part:.1f} %)" for value, part in share.items()
            )
            kind = "colours" if masks[0].of_colours else "ids"
            other = next((i for i in pixels if i != 0), 1)
            hint = f"data.dataset.mask_ids, as in {{0: background, {other}: {name}}}"
            if masks[0].of_colours:
                hint = f"data.dataset.mask_colours, as in {{{name}: [128, 0, 0]}}"
            return (
                f"{len(masks)} images of {self.split} that are tagged {name} have masks without a "
                f"pixel of {name}; their {kind} are {shown} of all pixels (such as "
                f"{masks[0].path}). Say what {kind} mean by {hint}, or mend the tags."
            )
        return ""

    def _many_unnamed(self) -> str:
        if self.reader.unmapped is not None:
            return ""
        unnamed, total = self._unnamed()
        blurred = [c for c in self.contents if len(c.unnamed) > BLURRED]
        if sum(unnamed.values()) <= MANY * total and 2 * len(blurred) <= len(self.contents):
            return ""
        worst = max(self.contents, key=lambda c: sum(c.unnamed.values()) / sum(c.pixels.values()))
        most = sorted(worst.unnamed, key=lambda value: -worst.unnamed[value])
        share = 100 * sum(worst.unnamed.values()) / sum(worst.pixels.values())
        key = "mask_colours" if worst.of_colours else "mask_ids"
        cause = (
            f" So many in one mask ({len(worst.unnamed)}) come from JPEG or from resizing that "
            "blends ids; save masks as PNG, and resize them by nearest neighbour."
            if blurred
            else ""
        )
        return (
            f"{worst.path} has {worst.describe(most)}, {share:.1f} % of its pixels, which "
            f"data.dataset.{key} does not name; over {self.split} these are "
            f"{100 * sum(unnamed.values()) / total:.1f} %. Name them there ({IGNORED} is a name "
            f"too), or set data.dataset.unmapped={IGNORED} or {BACKGROUND}.{cause}"
        )

    def _unnamed(self) -> tuple[Counter[int], int]:
        unnamed, total = Counter[int](), 0
        for content in self.contents:
            unnamed.update(content.unnamed)
            total += sum(content.pixels.values())
        return unnamed, total


def _voc_colours() -> list[Colour]:
    return [tuple(voc_palette()[i : i + 3]) for i in range(0, 768, 3)]  # type: ignore[misc]
