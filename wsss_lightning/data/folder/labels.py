"""What a file of labels says about the photos, in whatever format it is."""

from dataclasses import dataclass, field

from wsss_lightning.data.sources.boxes import RawBox


@dataclass
class Labels:
    """Labels of photos.

    Args:
        words: names of classes of each photo that the labels mention, by the photo's name; an empty
            list says that the photo shows none.
        boxes: boxes of photos in pixels, by the photo's name; None: these labels have no boxes.
        sizes: (H, W) of the photo that the boxes were drawn on, where the labels say so.
        missing: entries without a photo.
        source: format and columns, as a remark for the user.
        notes: further remarks for the user.
    """

    words: dict[str, list[str]] = field(default_factory=dict)
    boxes: dict[str, list[RawBox]] | None = None
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    source: str = ""
    notes: list[str] = field(default_factory=list)
