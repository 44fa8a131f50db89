"""Colours of classes in masks.

Letters: H W an image.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from wsss_lightning.errors import InputError, did_you_mean

Colour = tuple[int, int, int]


def parse_colours(setting: Mapping[Any, Any], labels: Mapping[str, int]) -> dict[Colour, int]:
    """Label of each colour.

    Args:
        setting: `cat: [128, 0, 0]`, `cat: [[128, 0, 0], [0, 128, 0]]` or `"128 0 0": cat`; a
            colour may also be written as `"#800000"`.
        labels: label of each class name, of `background` and of `ignored`.

    Raises:
        InputError: a class or colour is invalid, or two classes share a colour.
    """
    colours: dict[Colour, int] = {}
    for key, value in setting.items():
        name, written = (str(key), value) if str(key) in labels else (str(value), key)
        if name not in labels:
            raise InputError(
                f"`mask_colours` has {key}: {value}, which names no class; "
                f"{did_you_mean(str(key), labels)} Write it as in cat: [128, 0, 0]."
            )
        is_list = isinstance(written, Sequence) and not isinstance(written, str)
        is_nested = is_list and bool(written) and not isinstance(written[0], int)
        for one in written if is_nested else [written]:
            colour = _parse(one)
            if colours.get(colour, labels[name]) != labels[name]:
                raise InputError(
                    f"`mask_colours` gives the colour {list(colour)} to two classes; keep one."
                )
            colours[colour] = labels[name]
    return colours


def _parse(written: Any) -> Colour:
    """[128, 0, 0], "128 0 0" or "#800000"."""
    values: list[int] = []
    if isinstance(written, str):
        if re.fullmatch(r"#[0-9a-fA-F]{6}", written.strip()):
            values = list(bytes.fromhex(written.strip()[1:]))
        elif re.fullmatch(r"[\[(]?\s*\d+(?:[\s,/-]+\d+){2}\s*[\])]?", written.strip()):
            values = [int(number) for number in re.findall(r"\d+", written)]
    elif isinstance(written, Sequence):
        values = [value for value in written if isinstance(value, int)]
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise InputError(
            f"`mask_colours` has the colour {written}, but colours are three numbers from 0 to "
            "255, as in cat: [128, 0, 0]."
        )
    return values[0], values[1], values[2]


def pack_all(colours: UInt8[np.ndarray, "H W 3"]) -> Integer[np.ndarray, "H W"]:
    """Each colour as one number, see `pack`."""
    wide = colours.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def pack(colour: Colour) -> int:
    """A colour as one number of 24 bits, red first."""
    return (colour[0] << 16) | (colour[1] << 8) | colour[2]


def unpack(value: int) -> Colour:
    """The colour of a packed number."""
    return value >> 16, (value >> 8) & 255, value & 255
