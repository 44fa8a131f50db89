"""Configuration keys that were renamed."""

import re
from typing import Final

# patterns of old keys, and what each becomes
_RENAMED: Final = (
    (r"runs", "output_dir"),
    (r"slots", "device_groups"),
    (r"pictures", "num_previews"),
    (r"score\.bits", "cam.storage_bits"),
    (r"score\.(\w+)", r"cam.\1"),
    (r"score", "cam"),
    (r"data\.reader\.untagged", "data.dataset.on_missing_labels"),
    (r"data\.reader(\..+)?", r"data.dataset\1"),
    (r"data\.looks", "data.subcategories"),
    (r"data\.generate\.looks", "data.generate.subcategories"),
    (r"fit\.segmenter\.encoder", "fit.segmenter.init_from"),
    (r"refine\.encoder", "refine.init_from"),
    (r"pipeline\.begin", "pipeline.init_from"),
    (r"pipeline\.network", "pipeline.training"),
    (r"pipeline\.plateau", "pipeline.min_change"),
    (r"(relabel|box_labels)\.least", r"\1.min_fill"),
    (r"relabel\.certainty", "relabel.label_confidence"),
    (r"(.+)\.head_factor", r"\1.head_lr_multiplier"),
    (r"(method|segmenter|refine\.module|pipeline\.first)\.power", r"\1.poly_power"),
    (r"(.+)\.taps", r"\1.feature_layers"),
    (r"(.+)\.tap_channels", r"\1.feature_channels"),
)


def current_name(key: str) -> str:
    """The current name of a configuration key; a key that was not renamed stays as it is."""
    for pattern, name in _RENAMED:
        match = re.fullmatch(pattern, key)
        if match:
            return match.expand(name)
    return key
