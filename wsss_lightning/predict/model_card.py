"""The model card beside a portable model: what it is, how it was made, and what it is not for."""

import json
from collections.abc import Mapping
from typing import Any

from wsss_lightning.evaluation.metrics import score_parts
from wsss_lightning.predict.model_info import ModelInfo
from wsss_lightning.results.score_table import METRICS
from wsss_lightning.steps.labels import step_label

KINDS = {
    "segmentation": ("segmentation network", "image-segmentation"),
    "classification": ("classifier with class activation maps", "image-classification"),
}
SUPERVISION = {
    "tags": "image-level labels (which classes an image shows, not where)",
    "boxes": "boxes",
    "masks": "masks of every training image (full supervision)",
}
# steps whose scores are given for each class
OWN_STEPS = {
    "segmentation": ("segmentation", "segmentation_crf"),
    "classification": ("seeds",),
}
USE = {
    "segmentation": """from wsss_lightning import Predictor

predict = Predictor("model.safetensors")
predict("photos/cat.jpg")[0].overlay().save("cat.png")
""",
    "classification": """from wsss_lightning import load

model = load("model.safetensors")
maps = model.cams("photos/cat.jpg")  # {class: (H W) in [0, 1)}
""",
}


def model_card(info: ModelInfo) -> str:
    """Markdown with the front matter of model hubs.

    Args:
        info: description of the model.
    """
    kind, tag = KINDS[info.task]
    origin = info.provenance
    name = f"{origin.get('experiment', 'model')} on {origin.get('data', 'unknown data')}"
    front = ["library_name: wsss-lightning", f"pipeline_tag: {tag}", "license: other"]
    front += ["license_name: see-below", "tags:", "  - weakly-supervised-segmentation"]
    sections = {
        "What it is": _what(info, kind),
        "Use": f"```python\n{USE[info.task]}```\n\n{_commands(info)}",
        "Input": _input(info),
        "Classes": _classes(info),
        "Training": _training(info),
        "Scores": _scores(info),
        "Limits": _limits(info),
        "Licence": _licence(origin),
        "Provenance": _provenance(info),
    }
    parts = ["---", *front, "---", "", f"# {_text(name)}: {kind}", ""]
    for heading, text in sections.items():
        parts += [f"## {heading}", "", text.strip(), ""]
    return "\n".join(parts)


def _what(info: ModelInfo, kind: str) -> str:
    target, network = info.module["_target_"], info.module.get("net")
    architecture = network.get("_target_", "") if isinstance(network, Mapping) else ""
    names = [str(one).rpartition(".")[2] for one in (target, architecture) if one]
    backbone = info.provenance.get("initial_weights", {}).get("backbone", "unknown")
    return (
        f"A {kind} for {len(info.classes)} classes: {' with '.join(f'`{one}`' for one in names)}, "
        f"backbone `{backbone}`, trained with wsss_lightning."
    )


def _commands(info: ModelInfo) -> str:
    if info.task == "classification":
        return "The file holds the weights and everything else that is needed to use them."
    return (
        "On the command line: `wsss-lightning predict model.safetensors photos --out masks`. The "
        "file holds the weights and everything else that is needed to use them."
    )


def _input(info: ModelInfo) -> str:
    settings: Mapping[str, Any] = info.test or info.cam or {}
    side = settings.get("long_side")
    size = "its own size" if side is None else f"a long side of {side} pixels"
    crf = ""
    if info.uses_crf and info.crf:
        parameters = ", ".join(f"{key} {value}" for key, value in info.crf.items())
        crf = f"\n- The masks are refined by a dense CRF ({parameters})."
    return (
        "- RGB (b 3 H W), float in [0, 1]; `Predictor` converts files, uint8 and PIL images.\n"
        f"- The network itself subtracts the mean {_numbers(info.mean)} and divides by the "
        f"standard deviation {_numbers(info.std)}.\n"
        f"- Sizes of training images in pixels: {_pairs(info.sizes)}.\n"
        f"- A photo is predicted at {size}, scales {settings.get('scales')}, "
        f"{'with' if settings.get('flip') else 'without'} its mirror image.{crf}"
    )


def _classes(info: ModelInfo) -> str:
    rows = ["| label | class | colour |", "| --- | --- | --- |"]
    labels = info.labels if info.task == "segmentation" else info.classes
    first = len(info.labels) - len(labels)
    for i, name in enumerate(labels, first):
        rows.append(f"| {i} | {_text(name)} | {tuple(info.colours[i])} |")
    return "\n".join(rows)


def _training(info: ModelInfo) -> str:
    origin = info.provenance
    supervision = origin.get("supervision")
    annotation = origin.get("annotation") or {}
    uses = list(origin.get("train_masks_used_for") or [])
    train = (origin.get("splits") or {}).get("train")
    if not any(key.endswith(f"/{train}/miou") for key in origin.get("scores") or {}):
        uses = [use for use in uses if use != "scoring"]  # the data set has no true masks
    lines = [
        f"- Data: {_text(origin.get('data', 'unknown'))}, digest "
        f"`{origin.get('data_digest', 'unknown')}`.",
        f"- Supervision: {SUPERVISION.get(str(supervision), supervision or 'unknown')}.",
    ]
    if annotation:
        lines.append(f"- Annotation used: {_pairs(annotation)}.")
    if uses:
        lines.append(
            f"- Masks of the training split that a person drew were used for: {', '.join(uses)}."
        )
    if origin.get("recipe"):
        lines.append(f"- Published settings: `{origin['recipe']}`.")
    return "\n".join(lines)


def _scores(info: ModelInfo) -> str:
    """Scores of the network and of what it was made from, and the IoU of each class."""
    origin, own = info.provenance, OWN_STEPS[info.task]
    splits = origin.get("splits") or {}
    rows = ["| score | split | percent |", "| --- | --- | ---: |"]
    for key, value in (origin.get("scores") or {}).items():
        step, split, metric = score_parts(key)
        if metric in METRICS and not step.startswith("round_"):
            name = METRICS[metric]
        elif metric.startswith("iou_") and step in own:
            name = f"IoU of {metric.removeprefix('iou_')}"
        else:
            continue
        trained = " (trained on)" if split == splits.get("train") else ""
        row = f"{step_label(step)}: {name}"
        rows.append(f"| {_text(row)} | {_text(split)}{trained} | {100 * value:.1f} |")
    if len(rows) == 2:
        return "The run was not scored: there were no true masks or tags to compare with."
    miou = f"\n\nmIoU: {origin['miou']}." if origin.get("miou") else ""
    return "\n".join(rows) + miou


def _limits(info: ModelInfo) -> str:
    weak = info.provenance.get("supervision") != "masks"
    lines = [
        "- Every pixel gets one of the labels above; objects of other classes get the most similar "
        "one, or background.",
        "- Objects of one class that touch are not separated.",
        "- The scores hold for photos like those of the data set; other cameras, sizes and scenes "
        "were not tested.",
    ]
    if weak:
        lines.insert(
            0,
            "- It learnt from weak labels: outlines are coarse, and what often surrounds a class "
            "(rails under trains, water around boats) may be labelled as the class.",
        )
    return "\n".join(lines)


def _licence(origin: Mapping[str, Any]) -> str:
    initial = origin.get("initial_weights") or {}
    weights, backbone = initial.get("weights"), initial.get("backbone", "unknown")
    if weights == "random":
        source = "The training started from random weights."
    elif weights == "hub":
        source = (
            f"The training started from ImageNet weights of `{backbone}` from a model hub. Their "
            "licence is unknown to wsss_lightning; look it up there before you pass this model on."
        )
    elif weights:
        source = (
            f"The training started from the file `{weights}` (backbone `{backbone}`). Its licence "
            "is unknown to wsss_lightning; look it up at its source before you pass this model on."
        )
    else:
        source = "The initial weights, and their licence, are unknown."
    if initial.get("after_classifier"):
        source += " The encoder was then taken from the classifier of the same run."
    return (
        "- Code of wsss_lightning: Apache-2.0. That says nothing about these weights.\n"
        f"- Initial weights: {source}\n"
        "- Training images: their licence is that of the data set, and unknown here."
    )


def _provenance(info: ModelInfo) -> str:
    origin = info.provenance
    overrides = " ".join(map(str, origin.get("overrides") or [])) or "none"
    versions = json.dumps(origin.get("versions") or {}, indent=2)
    return (
        f"Seed {origin.get('seed', 'unknown')}. Overrides (folders left out):\n\n```text\n"
        f"{overrides}\n```\n\nVersions:\n\n```json\n{versions}\n```"
    )


def _text(text: Any) -> str:
    """Text inside a table or a heading."""
    return " ".join(str(text).split()).replace("|", "\\|")


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _numbers(values: list[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
