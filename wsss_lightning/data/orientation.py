"""Decides whether EXIF orientations are applied."""

from collections.abc import Sequence

from wsss_lightning.data.file_facts import Fact
from wsss_lightning.data.sources.box_sources import BoxSource
from wsss_lightning.data.sources.tag_sources import Refuse
from wsss_lightning.data.sources.true_masks import TrueMasks
from wsss_lightning.data.split_image import SplitImage
from wsss_lightning.utils.text import shorten


def decide_orientations(
    images: Sequence[SplitImage], masks: TrueMasks, boxes: BoxSource, refuse: Refuse
) -> list[str]:
    """Set `apply_orientation` of all images, and return remarks for the user.

    The EXIF orientation of an image is applied unless its mask, its annotation or its boxes only
    fit the image as stored. Where sizes do not decide (square images, rotations by 180 degrees),
    the other images of the split do.

    Args:
        images: images of the split.
        masks: true masks, whose sizes are compared.
        boxes: likewise.
        refuse: called for an image whose mask and boxes fit different orientations.
    """
    oriented = [image for image in images if image.fact.orientation != 1]
    undecided, votes = [], {True: 0, False: 0}
    for image in oriented:
        sizes = boxes.annotated_sizes(image)
        if isinstance(mask := masks.fact(image), Fact):
            sizes.add(mask.header.upright)
        upright, stored = image.fact.header.upright, image.fact.header.stored
        if upright == stored or not sizes & {upright, stored}:
            undecided.append(image)
        elif {upright, stored} <= sizes:
            refuse(
                [image.name],
                f"{image.path} has EXIF orientation {image.fact.orientation}; of its mask and "
                f"annotation, one fits the rotated image ({upright[1]}x{upright[0]}), the other "
                f"the image as stored ({stored[1]}x{stored[0]}); make both from the same image.",
            )
        else:
            image.apply_orientation = upright in sizes
            votes[image.apply_orientation] += 1
    for image in undecided:
        image.apply_orientation = not (votes[False] and not votes[True])
    as_stored = [image.name for image in oriented if not image.apply_orientation]
    notes = []
    if len(oriented) > len(as_stored):
        notes.append(
            f"{len(oriented) - len(as_stored)} images are rotated by their EXIF orientation"
        )
    if as_stored:
        notes.append(
            f"{len(as_stored)} images have an EXIF orientation that is not applied, since "
            f"masks or boxes fit the images as stored ({shorten(as_stored)})"
        )
    return notes
