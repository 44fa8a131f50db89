"""Official networks by their layout: names, shapes and the weights of the reference's 18.1."""

import numpy as np
import torch

R, B = ["conv_branch2a", "conv_branch2b1"], ["conv_branch2a", "conv_branch2b1", "conv_branch2b2"]
# (name, in, middle, out, has conv_branch1), as in the reference's table
BLOCKS = [
    ("b2", 64, 128, 128, True),
    ("b2_1", 128, 128, 128, False),
    ("b2_2", 128, 128, 128, False),
    ("b3", 128, 256, 256, True),
    ("b3_1", 256, 256, 256, False),
    ("b3_2", 256, 256, 256, False),
    ("b4", 256, 512, 512, True),
    *((f"b4_{i}", 512, 512, 512, False) for i in range(1, 6)),
    ("b5", 512, 512, 1024, True),
    ("b5_1", 1024, 512, 1024, False),
    ("b5_2", 1024, 512, 1024, False),
]
HEADS = {
    "PSA": {"fc8": (20, 4096)},
    "SEAM": {"fc8": (21, 4096), "f8_3": (64, 512), "f8_4": (128, 1024), "f9": (192, 195)},
    "AffinityNet": {"f8_3": (64, 512), "f8_4": (128, 1024), "f8_5": (256, 4096), "f9": (448, 448)},
    "SC-CAM": {"fc8_20": (20, 4096), "fc8_200": (200, 4096)},
    "ImageNet": {},
}


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts}


def layout(network: str) -> dict[str, tuple[int, ...]]:
    """Every key of an official checkpoint without counters, and its shape."""
    shapes = {"conv1a.weight": (64, 3, 3, 3)}
    for name, inside, middle, outside, reshapes in BLOCKS:
        shapes |= norm(f"{name}.bn_branch2a", inside)
        shapes |= norm(f"{name}.bn_branch2b1", middle)
        shapes[f"{name}.conv_branch2a.weight"] = (middle, inside, 3, 3)
        shapes[f"{name}.conv_branch2b1.weight"] = (outside, middle, 3, 3)
        if reshapes:
            shapes[f"{name}.conv_branch1.weight"] = (outside, inside, 1, 1)
    for name, inside in (("b6", 1024), ("b7", 2048)):
        outside = 2 * inside
        shapes |= norm(f"{name}.bn_branch2a", inside)
        shapes |= norm(f"{name}.bn_branch2b1", outside // 4)
        shapes |= norm(f"{name}.bn_branch2b2", outside // 2)
        shapes[f"{name}.conv_branch2a.weight"] = (outside // 4, inside, 1, 1)
        shapes[f"{name}.conv_branch2b1.weight"] = (outside // 2, outside // 4, 3, 3)
        shapes[f"{name}.conv_branch2b2.weight"] = (outside, outside // 2, 1, 1)
        shapes[f"{name}.conv_branch1.weight"] = (outside, inside, 1, 1)
    shapes |= norm("bn7", 4096)
    return shapes | {f"{name}.weight": (*shape, 1, 1) for name, shape in HEADS[network].items()}


def recipe(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The weights of the reference's whole-network rows: one seed a key, in order of names."""
    state = {}
    for i, (key, shape) in enumerate(sorted(shapes.items())):
        random = np.random.RandomState(i)
        if len(shape) == 4:
            value = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        elif key.endswith(("running_var", "weight")):
            value = 0.5 + random.rand(*shape)
        else:
            value = random.rand(*shape) - 0.5
        state[key] = torch.from_numpy(value.astype(np.float32))
    return state


def deeplab_v1_layout() -> dict[str, tuple[int, ...]]:
    """Every key of the official DeepLab-v1 on ResNet38 without counters, and its shape."""
    shapes = {f"backbone.{key}": shape for key, shape in layout("ImageNet").items()}
    shapes |= {"conv_fov.weight": (512, 4096, 3, 3), "conv_fov2.weight": (512, 512, 1, 1)}
    shapes |= norm("bn_fov", 512) | norm("bn_fov2", 512)
    return shapes | {"cls_conv.weight": (21, 512, 1, 1), "cls_conv.bias": (21,)}


def deeplab_v2_layout() -> dict[str, tuple[int, ...]]:
    """Every key of deeplab-pytorch's multi-scale DeepLab-v2 without counters, and its shape."""
    shapes = {"base.layer1.conv1.conv.weight": (64, 3, 7, 7)} | norm("base.layer1.conv1.bn", 64)
    inside = 64
    for stage, count in zip((2, 3, 4, 5), (3, 4, 23, 3), strict=True):
        middle, outside = 2 ** (stage + 4), 2 ** (stage + 6)
        for i in range(1, count + 1):
            convolutions = {
                "reduce": (middle, inside, 1, 1),
                "conv3x3": (middle, middle, 3, 3),
                "increase": (outside, middle, 1, 1),
            }
            if i == 1:
                convolutions["shortcut"] = (outside, inside, 1, 1)
            for name, shape in convolutions.items():
                block = f"base.layer{stage}.block{i}.{name}"
                shapes |= {f"{block}.conv.weight": shape} | norm(f"{block}.bn", shape[0])
            inside = outside
    for i in range(4):
        shapes |= {f"base.aspp.c{i}.weight": (21, 2048, 3, 3), f"base.aspp.c{i}.bias": (21,)}
    return shapes
