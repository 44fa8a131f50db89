"""Upgrades the content of a `results.json` of version 1 to version 2."""

from collections.abc import Mapping
from typing import Any, Final

from wsss_lightning.config.renamed import current_name, current_override, new_target

_SUPERVISION: Final = {"true masks": "masks"}
_DATASET_KEYS: Final = {"untagged": "on_missing_labels"}
# refiners of version 1, whose files do not name their steps
_STEPS: Final = {
    "none": {"label": "seeds without refinement", "order": 11},
    "crf": {"label": "CRF", "order": 12},
    "affinity": {"label": "affinity", "order": 20},
    "affinity_crf": {"label": "affinity + CRF", "order": 21},
    "irn": {"label": "IRN", "order": 20},
    "irn_crf": {"label": "IRN + CRF", "order": 21},
}
_WEIGHTS: Final = {"of the hub": "hub"}


def upgrade_version_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """Translate field names, configuration keys and values of version 1.

    Raises:
        KeyError, TypeError, AttributeError: a field is missing or has another type.
    """
    protocol, dataset = content["protocol"], content["reader"]
    recipe = content.get("recipe")
    return {
        "schema": 2,
        **{key: content[key] for key in ("experiment", "data", "data_digest", "seed", "scores")},
        "supervision": _SUPERVISION.get(protocol["trained_on"], protocol["trained_on"]),
        "protocol": _protocol(protocol, content["data_digest"]),
        "annotation": {"images": None, **content["annotation"]},
        "overrides": [current_override(str(word)) for word in content["words"]],
        "dataset": _dataset(dataset),
        "seconds": content["seconds"],
        "versions": content["versions"],
        "recipe": None if recipe is None else _recipe(recipe),
        "key": content.get("key"),
        "trainings": content.get("trained"),
        "steps": _STEPS,
    }


def _protocol(old: Mapping[str, Any], data_digest: str) -> dict[str, Any]:
    seeds, segmentation = old.get("seeds"), old.get("segmentation")
    if seeds is not None:
        seeds = {
            "tags": old.get("tags_of_seeds"),
            "thresholds": old.get("thresholds", {}),
            **seeds,
        }
    if segmentation is not None:
        segmentation = {"init_from": old.get("segmentation_begins_with"), **segmentation}
        segmentation["initial_weights"] = _weights(segmentation)
    return {
        "splits": old["splits"],
        "train_masks_used_for": _uses(old),
        # the last part of the data's digest was that of the true masks
        "true_masks_digest": old.get("masks_digest", data_digest.rpartition("-")[2]),
        "scored_splits": old.get("scored_on"),
        "tags_source": old.get("tags_from"),
        "boxes_source": old.get("boxes_from"),
        "box_labels": old.get("labels"),
        "relabel": old.get("relabelled_by"),
        "initial_weights": _weights(old),
        **{key: old.get(key) for key in ("normalisation", "precision", "miou")},
        "seeds": seeds,
        "segmentation": segmentation,
    }


def _uses(old: Mapping[str, Any]) -> list[str]:
    """Uses of the training split's true masks, which version 1 wrote as a sentence."""
    used = old.get("true_masks_of_train")
    if used is None:
        return ["training", "scoring"]
    return ["scoring"] if used == "scoring only" else used.split(" and ")


def _weights(old: Mapping[str, Any]) -> str | None:
    weights = old.get("initial_weights")
    return _WEIGHTS.get(weights, weights) if weights else None


def _dataset(old: Mapping[str, Any]) -> dict[str, Any]:
    node = {_DATASET_KEYS.get(key, key): value for key, value in old.items()}
    if "_target_" in node:
        node["_target_"] = new_target(node["_target_"]) or node["_target_"]
    return node


def _recipe(old: Mapping[str, Any]) -> dict[str, Any]:
    differences = [{**one, "key": current_name(one["key"])} for one in old["differences"]]
    return {"name": old["name"], "differences": differences}
