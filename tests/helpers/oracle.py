"""The chains of the official codes from photo to pseudo mask, computed again in a plain way.

Nothing of wsss_lightning is used. Networks are `torch.nn.functional` calls on tensors of official
checkpoints, random walks are powers of whole matrices in double precision, pairs of pixels are
visited in loops. Compared once with the official scripts themselves, which gave the same label
maps, pixel for pixel.

Letters: c classes of an image, d channels, h w a map, H W an image.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

State = Mapping[str, torch.Tensor]
Maps = dict[int, np.ndarray]  # class, from 0: its map (H W)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IGNORE = 255


# images


def views(photo: Image.Image, scales: Sequence[float]) -> list[np.ndarray]:
    """The photo (H W 3) at each scale, resized by Pillow with 8 bits."""
    sizes = [(round(photo.width * scale), round(photo.height * scale)) for scale in scales]
    return [np.asarray(photo.resize(size, Image.Resampling.BICUBIC)) for size in sizes]


def normalised(pixels: np.ndarray) -> torch.Tensor:
    """(H W 3) in 0..255 -> (1 3 H W) that networks see."""
    values = (pixels / 255.0 - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(values.transpose(2, 0, 1).astype(np.float32))[None]


def resized(maps: torch.Tensor, size: Sequence[int], corners: bool = False) -> torch.Tensor:
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=corners)


# networks


def norm(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, var, weight, bias)


def resnet38(x: torch.Tensor, state: State) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """conv4, conv5 and conv6 of the network that PSA, SEAM and SC-CAM share."""

    def conv(y: torch.Tensor, name: str, stride: int = 1, dilation: int = 1) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(y, weight, stride=stride, padding=padding, dilation=dilation)

    strides = {"b2": 2, "b3": 2, "b4": 2}
    dilations = {"b5": (1, 2), "b5_1": (2, 2), "b5_2": (2, 2)}
    names = ["b2", "b2_1", "b2_2", "b3", "b3_1", "b3_2", "b4", *(f"b4_{i}" for i in range(1, 6))]
    feature_layers = {}
    x = conv(x, "conv1a")
    for name in [*names, "b5", "b5_1", "b5_2"]:
        first, second = dilations.get(name, (1, 1))
        stride = strides.get(name, 1)
        feature_layers[name] = active = norm(x, state, f"{name}.bn_branch2a").relu()
        branch = conv(active, f"{name}.conv_branch2a", stride, first)
        branch = norm(branch, state, f"{name}.bn_branch2b1").relu()
        branch = conv(branch, f"{name}.conv_branch2b1", 1, second)
        skips = f"{name}.conv_branch1.weight" not in state
        x = branch + (x if skips else conv(active, f"{name}.conv_branch1", stride))
    for name in ("b6", "b7"):
        feature_layers[name] = active = norm(x, state, f"{name}.bn_branch2a").relu()
        branch = conv(active, f"{name}.conv_branch2a")
        branch = norm(branch, state, f"{name}.bn_branch2b1").relu()
        branch = conv(branch, f"{name}.conv_branch2b1", 1, 4)
        branch = norm(branch, state, f"{name}.bn_branch2b2").relu()
        x = conv(branch, f"{name}.conv_branch2b2") + conv(active, f"{name}.conv_branch1")
    return feature_layers["b5"], feature_layers["b6"], norm(x, state, "bn7").relu()


def resnet50(x: torch.Tensor, state: State) -> list[torch.Tensor]:
    """What IRN's ResNet50 has behind max-pooling and its four stages; the last has stride 1."""
    x = F.conv2d(x, state["resnet50.conv1.weight"], stride=2, padding=3)
    x = norm(x, state, "resnet50.bn1").relu()
    maps = [F.max_pool2d(x, 3, stride=2, padding=1)]
    for stage, (blocks, first) in enumerate([(3, 1), (4, 2), (6, 2), (3, 1)], start=1):
        x = maps[-1]
        for block in range(blocks):
            name, stride = f"resnet50.layer{stage}.{block}", first if block == 0 else 1
            y = norm(F.conv2d(x, state[f"{name}.conv1.weight"]), state, f"{name}.bn1").relu()
            y = F.conv2d(y, state[f"{name}.conv2.weight"], stride=stride, padding=1)
            y = norm(y, state, f"{name}.bn2").relu()
            y = norm(F.conv2d(y, state[f"{name}.conv3.weight"]), state, f"{name}.bn3")
            if block == 0:
                x = F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
                x = norm(x, state, f"{name}.downsample.1")
            x = (x + y).relu()
        maps.append(x)
    return maps


def cam_of(head: str) -> Callable[[torch.Tensor, State], torch.Tensor]:
    """The activated map of every class, by a 1x1 convolution of this name."""
    return lambda x, state: F.conv2d(resnet38(x, state)[2], state[f"{head}.weight"]).relu()


def seam_refined(x: torch.Tensor, state: State) -> torch.Tensor:
    """SEAM's map of every class behind its pixel correlation, as large as the view."""
    conv4, conv5, conv6 = resnet38(x, state)
    cam = F.conv2d(conv6, state["fc8.weight"])[0].relu()
    share = (cam - 1e-5).relu() / (cam.amax((1, 2), keepdim=True) + 1e-5)
    strongest = share[1:].amax(0)
    share[0] = 1 - strongest
    for one in share[1:]:
        one[one < strongest] = 0
    size = cam.shape[-2:]
    seen = torch.cat(
        [
            resized(x, size, corners=True),
            F.conv2d(conv4, state["f8_3.weight"]).relu(),
            F.conv2d(conv5, state["f8_4.weight"]).relu(),
        ],
        dim=1,
    )
    feature = F.conv2d(seen, state["f9.weight"])[0].flatten(1)
    unit = feature / (feature.norm(dim=0) + 1e-5)
    alike = (unit.T @ unit).relu()
    refined = share.flatten(1) @ (alike / (alike.sum(0) + 1e-5))
    return resized(refined.view(1, -1, *size), x.shape[-2:], corners=True)[:, 1:]


# seeds


def added_maps(
    photo: Image.Image,
    tags: Sequence[int],
    state: State,
    network: Callable[[torch.Tensor, State], torch.Tensor],
    scales: Sequence[float],
) -> np.ndarray:
    """Maps of the tagged classes (c H W), added over scales and mirrors, as PSA's scripts do."""
    size, total = (photo.height, photo.width), 0.0
    for view in views(photo, scales):
        plain = resized(network(normalised(view), state), size)
        mirrored = resized(network(normalised(view[:, ::-1]), state), size).flip(-1)
        total = total + plain[0, list(tags)].numpy() + mirrored[0, list(tags)].numpy()
    return total


def divided_by_maximum(maps: np.ndarray) -> np.ndarray:
    """PSA and SC-CAM."""
    return np.stack([one / (one.max() + 1e-5) for one in maps])


def stretched(maps: np.ndarray) -> np.ndarray:
    """SEAM. Pixels within 1e-5 of a positive minimum come out below zero."""
    scores = []
    for one in np.maximum(maps, 0):
        low, high = one.min(), one.max()
        clipped = np.where(one < low + 1e-5, 0, one)
        scores.append((clipped - low - 1e-5) / (high - low + 1e-5))
    return np.stack(scores)


def irn_seeds(
    photo: Image.Image, tags: Sequence[int], state: State, scales: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """IRN's maps of the tagged classes with a cell every 4 pixels, and as large as the photo."""
    height, width = photo.height, photo.width
    strided = torch.zeros(len(tags), -(-height // 4), -(-width // 4))
    large = torch.zeros(len(tags), -(-height // 16) * 16, -(-width // 16) * 16)
    for view in views(photo, scales):
        both = []
        for pixels in (view, view[:, ::-1]):
            deepest = resnet50(normalised(pixels), state)[-1]
            both.append(F.conv2d(deepest, state["classifier.weight"]).relu()[:, list(tags)])
        cam = both[0] + both[1].flip(-1)
        strided += resized(cam, strided.shape[-2:])[0]
        large += resized(cam, large.shape[-2:])[0]
    large = large[:, :height, :width]
    maps = (strided.numpy(), large.numpy())
    return divided_by_maximum(maps[0]), divided_by_maximum(maps[1])


# CRF


def crf(pixels: np.ndarray, energy: np.ndarray, space: float, colour: float) -> np.ndarray:
    """Marginals (l H W) by pydensecrf, of a photo (H W 3) and the labels' energies (l H W)."""
    from pydensecrf import densecrf

    labels, height, width = energy.shape
    field = densecrf.DenseCRF2D(width, height, labels)
    field.setUnaryEnergy(np.ascontiguousarray(energy.reshape(labels, -1), np.float32))
    field.addPairwiseGaussian(sxy=3, compat=3)
    field.addPairwiseBilateral(sxy=space, srgb=colour, rgbim=np.array(pixels), compat=10)
    return np.array(field.inference(10)).reshape(labels, height, width)


def crf_of_scores(pixels: np.ndarray, scores: np.ndarray, power: float) -> np.ndarray:
    """Marginals of background and classes, the background being (1 - max) ** power."""
    background = (1 - scores.max(0)) ** power
    full = np.concatenate([background[None], scores])
    return crf(pixels, -np.log(np.clip(full, 1e-5, 1.0)), 80, 13)


def crf_of_threshold(pixels: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """IRN's label map (H W): background below the threshold, trusted with 0.7, behind a CRF."""
    constant = np.full((1, *scores.shape[1:]), threshold, scores.dtype)
    chosen = np.concatenate([constant, scores]).argmax(0)
    labels = len(scores) + 1
    energy = np.full((labels, *chosen.shape), -np.log(0.3 / (labels - 1)))
    for label in range(labels):
        energy[label][chosen == label] = -np.log(0.7)
    return crf(pixels, energy, 50, 5).argmax(0)


# labels for affinities


def cells_of(marginals: np.ndarray, stride: int) -> np.ndarray:
    """Means over cells; pixels beyond the photo count as zero."""
    labels, height, width = marginals.shape
    out = np.zeros((labels, -(-height // stride), -(-width // stride)))
    for y in range(out.shape[1]):
        for x in range(out.shape[2]):
            rows, columns = (slice(i * stride, i * stride + stride) for i in (y, x))
            out[:, y, x] = marginals[:, rows, columns].sum((1, 2)) / stride**2
    return out


def psa_cell_labels(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Positions of labels (h w): where CRFs with much and with little background agree.

    Of a photo whose upper left corner is that of its crop.
    """
    careful, bold = cells_of(low, 8), cells_of(high, 8)
    labels = careful.argmax(0)
    labels[labels == 0] = IGNORE
    labels[bold.argmax(0) == 0] = 0
    labels[np.maximum(careful.max(0), bold.max(0)) < 1e-5] = IGNORE
    return labels


def irn_labels(pixels: np.ndarray, scores: np.ndarray, high: float, low: float) -> np.ndarray:
    """Positions of labels (H W): classes above `high`, background below `low`, both by CRFs."""
    foreground, background = (crf_of_threshold(pixels, scores, t) for t in (high, low))
    labels = foreground.copy()
    labels[foreground == 0] = IGNORE
    labels[(foreground == 0) & (background == 0)] = 0
    return labels


# affinities


def neighbours(radius: int) -> list[tuple[int, int]]:
    """(dy, dx) of one half of the disc around a pixel."""
    return [
        (dy, dx)
        for dy in range(radius)
        for dx in range(-radius + 1, radius)
        if dy * dy + dx * dx < radius * radius and (dy > 0 or dx > 0)
    ]


def pair_counts(labels: np.ndarray, radius: int) -> tuple[int, int, int]:
    """Pairs of background, of one class, and of two labels, in PSA's window."""
    counts = [0, 0, 0]
    height, width = labels.shape
    for y in range(height - radius + 1):
        for x in range(radius - 1, width - radius + 1):
            for dy, dx in neighbours(radius):
                first, second = labels[y, x], labels[y + dy, x + dx]
                if IGNORE not in (first, second):
                    counts[2 if first != second else int(first != 0)] += 1
    return counts[0], counts[1], counts[2]


def psa_features(photo: Image.Image, state: State) -> np.ndarray:
    """AffinityNet's features (d h w) of a photo padded to multiples of 8 with zeros."""
    x = normalised(np.asarray(photo))
    x = F.pad(x, (0, -photo.width % 8, 0, -photo.height % 8))
    squeezed = [
        F.elu(F.conv2d(maps, state[f"{name}.weight"]))
        for name, maps in zip(("f8_3", "f8_4", "f8_5"), resnet38(x, state), strict=True)
    ]
    return F.elu(F.conv2d(torch.cat(squeezed, 1), state["f9.weight"]))[0].numpy()


def psa_affinity(features: np.ndarray, radius: int = 5) -> np.ndarray:
    """The symmetric matrix (n n) of all cells; only sources within PSA's window have pairs."""
    height, width = features.shape[1:]
    matrix = np.eye(height * width)
    for y in range(height - radius + 1):
        for x in range(radius - 1, width - radius + 1):
            for dy, dx in neighbours(radius):
                distance = np.abs(features[:, y, x] - features[:, y + dy, x + dx]).mean()
                i, j = y * width + x, (y + dy) * width + x + dx
                matrix[i, j] = matrix[j, i] = np.exp(-distance)
    return matrix


def irn_boundary(photo: Image.Image, state: State, side: int) -> np.ndarray:
    """IRN's probability of a boundary (h w), of a photo padded to a square of this side."""
    height, width = -(-photo.height // 4), -(-photo.width // 4)
    pixels, logits = np.asarray(photo), []
    for image in (pixels, pixels[:, ::-1]):
        x = F.pad(normalised(image), (0, side - photo.width, 0, side - photo.height))
        seen = []
        for i, maps in enumerate(resnet50(x, state), start=1):
            edge = F.conv2d(maps, state[f"fc_edge{i}.0.weight"])
            weight, bias = state[f"fc_edge{i}.1.weight"], state[f"fc_edge{i}.1.bias"]
            edge = F.group_norm(edge, 4, weight, bias)
            factor = (1, 1, 2, 4, 4)[i - 1]
            seen.append(resized(edge, [factor * n for n in edge.shape[-2:]]).relu())
        rows, columns = seen[1].shape[-2:]
        edge = torch.cat([maps[..., :rows, :columns] for maps in seen], 1)
        logits.append(F.conv2d(edge, state["fc_edge6.weight"], state["fc_edge6.bias"])[0, 0])
    plain, mirrored = (logit[:height, :width] for logit in logits)
    return (plain / 2 + mirrored.flip(-1) / 2).sigmoid().numpy()


def irn_affinity(boundary: np.ndarray, radius: int = 5) -> np.ndarray:
    """The symmetric matrix (n n): 1 - the strongest boundary on the way between two cells.

    The way is all cells of the rectangle between both less than one cell beside the straight line.
    """
    height, width = boundary.shape
    matrix = np.eye(height * width)
    for dy, dx in neighbours(radius):
        way = [
            (y, x)
            for y in range(dy + 1)
            for x in range(min(dx, 0), max(dx, 0) + 1)
            if (dy * x - dx * y) ** 2 / (dy * dy + dx * dx) < 1
        ]
        for y in range(height - dy):
            for x in range(max(-dx, 0), width - max(dx, 0)):
                i, j = y * width + x, (y + dy) * width + x + dx
                matrix[i, j] = matrix[j, i] = 1 - max(boundary[y + a, x + b] for a, b in way)
    return matrix


# walks


def propagate(maps: np.ndarray, matrix: np.ndarray, beta: float, squarings: int) -> np.ndarray:
    """Maps (c h w) behind 2 ** squarings steps."""
    flow = matrix.astype(np.float64) ** beta
    flow /= flow.sum(0, keepdims=True)
    for _ in range(squarings):
        flow = flow @ flow
    return (maps.reshape(len(maps), -1) @ flow).reshape(maps.shape)


def psa_walk(
    scores: np.ndarray, matrix: np.ndarray, alpha: float, beta: float, squarings: int
) -> np.ndarray:
    """Scores of background and classes (H W) behind the walk of PSA and SEAM."""
    height, width = scores.shape[1:]
    background = (1 - np.maximum(scores.max(0), 0)) ** alpha
    cells = cells_of(np.concatenate([background[None], scores]), 8)
    spread = torch.from_numpy(propagate(cells, matrix, beta, squarings))[None]
    return resized(spread, [8 * n for n in cells.shape[1:]])[0, :, :height, :width].numpy()


def irn_walk(
    strided: np.ndarray,
    boundary: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    beta: float,
    squarings: int,
) -> np.ndarray:
    """Scores of classes (c H W) behind IRN's walk, their common maximum being 1."""
    spread = torch.from_numpy(propagate(strided * (1 - boundary), matrix, beta, squarings))[None]
    large = resized(spread, [4 * n for n in spread.shape[-2:]])[0, :, : size[0], : size[1]]
    return (large / large.max()).numpy()


def named(positions: np.ndarray, tags: Sequence[int]) -> np.ndarray:
    """Positions of labels as labels: 0 background, a class from 1, IGNORE."""
    names = np.full(256, IGNORE, np.uint8)
    names[: len(tags) + 1] = [0, *(tag + 1 for tag in tags)]
    return names[positions]
