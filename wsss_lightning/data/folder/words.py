"""Names of classes as people write them: several in a cell, in different spellings."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import combinations
from typing import Final, NamedTuple

from wsss_lightning.data.sources.names import folded
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.ops.masks import IGNORE

# entries that say that an image shows no class
NO_CLASS: Final = frozenset({"", "background", "none", "nan", "null", "n/a", "-", "[]", "{}"})
SEPARATORS: Final = re.compile(r"[,;|\n]")
MAX_CLASSES: Final = IGNORE - 1
MIN_LENGTH: Final = 5  # letters; shorter words of nearly equal spelling often differ in meaning
SIMILAR: Final = 0.85  # ratio of equal letters from which two spellings may mean one class


class Classes(NamedTuple):
    """Classes of a set of photos.

    Attributes:
        names: in the order of labels 1, 2, ...
        of: name of the class by each word of the labels; words without a class are absent.
        notes: remarks for the user: merged spellings, similar names, words that are left out.
    """

    names: list[str]
    of: dict[str, str]
    notes: list[str]


def split_words(cell: str) -> list[str]:
    """Words of a cell, which commas, semicolons, bars or line breaks separate.

    Brackets and quotes around a list or a word, as programs print them, are removed. Entries that
    stand for no class (`background`, `none`) are left out.
    """
    inner = re.sub(r"^[\[({](.*)[\])}]$", r"\1", cell.strip(), flags=re.DOTALL)
    words = (part.strip().strip("'\"#").strip() for part in SEPARATORS.split(inner))
    return [tidy(word) for word in words if word.casefold() not in NO_CLASS]


def tidy(word: str) -> str:
    """A word in composed Unicode with single blanks."""
    return " ".join(unicodedata.normalize("NFC", word).split())


def split_at_blanks(words: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Split entries such as `cat dog`, if every part of every such entry is a class of its own.

    Args:
        words: words of each image.
    """
    all_words = {word for entry in words.values() for word in entry}
    single = {word.casefold() for word in all_words if " " not in word}
    several = [word for word in all_words if " " in word]
    if not all(part.casefold() in single for word in several for part in word.split()):
        return dict(words)
    return {
        name: [part for word in entry for part in word.split()] for name, entry in words.items()
    }


def find_classes(
    words: Iterable[Iterable[str]], wanted: str | Sequence[str | int] | None
) -> Classes:
    """Classes that the words of all images name, sorted as people sort (`img2` before `img10`).

    Spellings that differ in case, blanks, `_` or `-` only are one class, named as most images
    write it.

    Args:
        words: words of each image.
        wanted: the class or classes to use, in this order; None: all.

    Raises:
        InputError: no image has a word, no image has a wanted class, or there are too many classes.
    """
    counts: Counter[str] = Counter()
    for entry in words:
        counts.update(set(entry))
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for word in sorted(counts, key=lambda word: (-counts[word], word)):
        spellings[folded(word)].append(word)
    if not spellings:
        raise InputError("no photo has a tag; write the classes that it shows beside its name.")
    notes = [
        f"{', '.join(group)} are one class, {group[0]}"
        for group in spellings.values()
        if len(group) > 1
    ]
    names = {key: group[0] for key, group in spellings.items()}
    if wanted is not None:
        chosen = [wanted] if isinstance(wanted, str) else list(map(str, wanted))
        names, note = _restrict(names, chosen, counts)
        notes += note
    else:
        names = {key: names[key] for key in sorted(names, key=natural)}
    if len(names) > MAX_CLASSES:
        raise InputError(
            f"the labels name {len(names)} classes ({', '.join(list(names.values())[:5])}, ...), "
            f"but at most {MAX_CLASSES} are possible; name those to learn by `classes`, as in "
            f"[{', '.join(list(names.values())[:2])}]."
        )
    notes += _similar(list(names.values()))
    of = {word: names[key] for key in names for word in spellings[key]}
    return Classes(list(names.values()), of, notes)


def natural(text: str) -> list[tuple[int, int | str]]:
    """Sort key that compares numbers in names by value and letters without case."""
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def _restrict(
    names: Mapping[str, str], wanted: Sequence[str], counts: Mapping[str, int]
) -> tuple[dict[str, str], list[str]]:
    """The wanted classes, spelt as the user does, and a remark on the others."""
    chosen: dict[str, str] = {}
    for name in map(tidy, wanted):
        key = folded(name)
        if key in chosen:
            raise InputError(f"`classes` names {name} twice; keep one.")
        if key not in names:
            raise InputError(
                f"`classes` names {name}, but no photo is tagged with it; "
                f"{did_you_mean(name, names.values())}"
            )
        chosen[key] = name
    if not chosen:
        raise InputError("`classes` is empty; name the classes to learn, as in [cat,dog].")
    others = [f"{names[key]} ({counts[names[key]]})" for key in names if key not in chosen]
    return chosen, [f"classes that are left out: {', '.join(sorted(others))}"] if others else []


def _similar(names: Sequence[str]) -> list[str]:
    """Pairs of classes that may be one class in two spellings."""
    pairs = [pair for pair in combinations(names, 2) if _may_be_one(*map(folded, pair))]
    return [f"{one} and {other} may be one class; use one spelling if so" for one, other in pairs]


def _may_be_one(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if long in (f"{short}s", f"{short}es", f"{short}n", f"{short}en"):
        return True
    if re.sub(r"\d", "", one) != one or len(short) < MIN_LENGTH:
        return False
    return SequenceMatcher(None, one, other).ratio() >= SIMILAR
