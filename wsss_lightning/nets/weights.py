"""Weight files: safe reading, layouts of official checkpoints, and reports of mismatches.

Letters: c classes, k = c + 1 with background first.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from wsss_lightning.errors import InputError
from wsss_lightning.nets.resnet38 import ResNet38

# layers of the heads of official ResNet38 networks: our names of them
OFFICIAL_HEADS: dict[str, dict[str, str]] = {
    "ImageNet": {},
    "PSA": {"fc8": "head"},
    "SEAM": {"fc8": "head", "f8_3": "squeeze.0", "f8_4": "squeeze.1", "f9": "embed"},
    "AffinityNet": {"f8_3": "squeeze.0", "f8_4": "squeeze.1", "f8_5": "squeeze.2", "f9": "embed"},
    "SC-CAM": {"fc8_20": "head", "fc8_200": "sub_head"},
}

# layers of DeepLab-v1 in semantic-segmentation-codebase: our names of them
DEEPLAB_V1 = {
    "conv_fov": "head.0",
    "bn_fov": "head.1",
    "conv_fov2": "head.3",
    "bn_fov2": "head.4",
    "cls_conv": "head.7",
}

# tensors that identify a layout: ResNet38's classifiers, IRN's boundary network, DeepLab-v1,
# deeplab-pytorch (with the prefix `base.` in multi-scale networks)
RESNET38_MARK = "conv1a.weight"
IRN_MARK = "fc_edge6.weight"
# in both networks of IRN; a file without IRN_MARK is the classifier's
IRN_BACKBONE_MARK = "resnet50.conv1.weight"
DEEPLAB_V1_MARK = "conv_fov.weight"
DEEPLAB_V2_MARKS = ("layer1.conv1.conv.weight", "base.layer1.conv1.conv.weight")
MARKS = (RESNET38_MARK, IRN_MARK, IRN_BACKBONE_MARK, DEEPLAB_V1_MARK, *DEEPLAB_V2_MARKS)


@dataclass(frozen=True)
class Official:
    """An official checkpoint with our names of layers.

    Args:
        network: network that the file belongs to: a key of OFFICIAL_HEADS, IRN, IRN's
            classifier, DeepLab-v1 or DeepLab-v2.
        encoder: tensors of the backbone.
        heads: tensors of the other layers.
        left_out: keys of the file that our networks do not have.
    """

    network: str
    encoder: Mapping[str, Tensor]
    heads: Mapping[str, Tensor]
    left_out: Sequence[str]

    @property
    def state(self) -> dict[str, Tensor]:
        """State dict of our network."""
        return {f"encoder.{key}": value for key, value in self.encoder.items()} | {**self.heads}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors or .pth file, read without running code in the file.

    Raises:
        InputError: the file does not exist or holds something else.
    """
    if not path.is_file():
        raise InputError(
            f"weights must be an existing .safetensors or .pth file, got {path}; correct the path, "
            "or leave it out for random weights"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as weights ({error}); use a .safetensors file, or a .pth file "
            "of plain tensors (torch.save(model.state_dict(), ...))."
        ) from error
    state = state.get("state_dict", state.get("model", state)) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path} holds no state dict; save the result of model.state_dict().")
    return state


def is_official(state: Mapping[str, Tensor]) -> bool:
    """Whether `read_official` can read the layout of a file."""
    return any(key.removeprefix("module.") in MARKS for key in state)


def read_official(state: Mapping[str, Tensor], path: Path) -> Official:
    """Identify the official network of a state dict, and rename its tensors to ours.

    Raises:
        InputError: keys or shapes differ from those of every official network.
    """
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    if IRN_MARK in plain:
        return _read_irn(plain)
    if IRN_BACKBONE_MARK in plain:
        return _read_irn_classifier(plain, path)
    if DEEPLAB_V1_MARK in plain:
        return _read_deeplab_v1(plain, path)
    if any(mark in plain for mark in DEEPLAB_V2_MARKS):
        return _read_deeplab_v2(plain, path)
    with torch.device("meta"):
        wanted = shapes_of(ResNet38())
    encoder = {key: value for key, value in plain.items() if key in wanted}
    rest = {key: value for key, value in plain.items() if key not in wanted}
    heads = {key.removesuffix(".weight") for key in rest}
    networks = [name for name, layers in OFFICIAL_HEADS.items() if heads == set(layers)]
    fault = misfits(encoder, wanted, () if networks else rest)
    if fault:
        raise InputError(
            f"{path} does not fit resnet38: {fault}. Give an official checkpoint of ResNet38 whose "
            f"other layers are those of one of {', '.join(OFFICIAL_HEADS)}."
        )
    layers = OFFICIAL_HEADS[networks[0]]
    named = {f"{ours}.weight": rest[f"{name}.weight"] for name, ours in layers.items()}
    return Official(networks[0], encoder, named, [])


def _read_irn(state: Mapping[str, Tensor]) -> Official:
    """IRN's boundary branch on ResNet50; the file holds most tensors under several names."""
    heads, left_out = {}, []
    for key, value in state.items():
        branch = re.fullmatch(r"fc_edge(\d)\.(?:([01])\.)?(weight|bias)", key)
        if branch:
            number, layer, kind = branch.groups()
            ours = {"0": "squeeze", "1": "norm", None: "head"}[layer]
            heads[f"{ours}.{int(number) - 1}.{kind}" if layer else f"{ours}.{kind}"] = value
        elif key.startswith(("fc_dp", "mean_shift.")):
            left_out.append(key)
    return Official("IRN", _irn_backbone(state), heads, sorted(left_out))


def _read_irn_classifier(state: Mapping[str, Tensor], path: Path) -> Official:
    """IRN's classifier on ResNet50; the file holds each tensor under two or three names."""
    known = ("resnet50.", "stage", "backbone.", "classifier.weight", "newly_added.")
    unknown = sorted(key for key in state if not key.startswith(known))
    if unknown or "classifier.weight" not in state:
        fault = f"unexpected {_shorten(unknown)}" if unknown else "no classifier.weight"
        raise InputError(
            f"{path} has the backbone of IRN's networks, but {fault}; give the state dict of "
            "net/resnet50_cam.py or of net/resnet50_irn.py."
        )
    heads = {"head.weight": state["classifier.weight"]}
    return Official("IRN's classifier", _irn_backbone(state), heads, [])


def _irn_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        key.removeprefix("resnet50."): value
        for key, value in state.items()
        if key.startswith("resnet50.") and not key.startswith("resnet50.fc.")
    }


def _read_deeplab_v1(state: Mapping[str, Tensor], path: Path) -> Official:
    """DeepLab-v1 of SEAM's author, on ResNet38."""
    encoder, heads, unknown = {}, {}, []
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        if key.startswith("backbone."):
            encoder[key.removeprefix("backbone.")] = value
        elif layer in DEEPLAB_V1:
            heads[f"{DEEPLAB_V1[layer]}.{kind}"] = value
        else:
            unknown.append(key)
    _refuse_unknown(unknown, path, "DeepLab-v1 of semantic-segmentation-codebase")
    return Official("DeepLab-v1", encoder, heads, [])


def _read_deeplab_v2(state: Mapping[str, Tensor], path: Path) -> Official:
    """A network of deeplab-pytorch: DeepLab-v2, or its initial weights, which have a head `fc`."""
    plain = {key.removeprefix("base."): value for key, value in state.items()}
    encoder = {key: value for key, value in plain.items() if re.match(r"layer[1-5]\.", key)}
    heads = {key: value for key, value in plain.items() if key.startswith("aspp.")}
    left_out = sorted(key for key in plain if key in ("fc.weight", "fc.bias"))
    unknown = set(plain) - set(encoder) - set(heads) - set(left_out)
    _refuse_unknown(unknown, path, "deeplab-pytorch")
    return Official("DeepLab-v2", encoder, heads, left_out)


def _refuse_unknown(keys: Iterable[str], path: Path, layout: str) -> None:
    unknown = sorted(keys)
    if unknown:
        raise InputError(
            f"{path} has the layout of {layout}, but {len(unknown)} unexpected keys "
            f"({_shorten(unknown)}); give the state dict of that network alone."
        )


def load_network(net: nn.Module, path: Path) -> None:
    """Load a whole network strictly, from an official checkpoint or from its own state dict.

    Args:
        net: to load into.
        path: path of the file.

    Raises:
        InputError: the file cannot be read; keys or shapes differ.
    """
    state = read_weights(path)
    if is_official(state):
        state = read_official(state, path).state
    fault = misfits(state, shapes_of(net), set(state) - set(shapes_of(net)))
    if fault:
        raise InputError(
            f"weights must be those of this network, got {path}; {fault}. Set a file of a network "
            "with the same layers and as many classes."
        )
    net.load_state_dict(state, strict=False)  # only counters of batches may be missing


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor in the state dict of a module."""
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def misfits(
    given: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], unexpected: Iterable[str]
) -> str:
    """Report of missing keys, unexpected keys and shapes that differ; empty where all fit.

    Args:
        given: tensors of the file.
        wanted: shape of each tensor of the network.
        unexpected: keys of the file that the network lacks.
    """
    lists = {
        # older files lack the counters of batches
        "missing": sorted(k for k in set(wanted) - set(given) if "num_batches_tracked" not in k),
        "unexpected": sorted(unexpected),
        "of another shape": [
            f"{key}: file {tuple(given[key].shape)}, network {wanted[key]}"
            for key in sorted(set(given) & set(wanted))
            if tuple(given[key].shape) != wanted[key]
        ],
    }
    return "; ".join(f"{len(v)} {k} ({_shorten(v)})" for k, v in lists.items() if v)


def _shorten(items: Sequence[str], most: int = 5) -> str:
    return ", ".join(items[:most]) + (
        f", ... {len(items) - most} more" if len(items) > most else ""
    )
