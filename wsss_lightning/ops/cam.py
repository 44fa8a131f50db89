"""Class activation to scores, and scores to labels.

Letters: b images, c classes, k = c + 1 with background first, d channels, h w a map.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def present(tags: Float[Tensor, "b c"]) -> Float[Tensor, "b k 1 1"]:
    """Which labels an image may show: its tags, and background always."""
    return F.pad(tags, (1, 0), value=1.0)[..., None, None]


def gather_present(
    maps: Float[Tensor, "b k h w"], tags: Float[Tensor, "b c"]
) -> tuple[Float[Tensor, "b l h w"], Float[Tensor, "b l 1 1"]]:
    """The maps of background and tagged classes only, and which of them are.

    Losses that ignore absent classes need not compute them: of VOC's 21 labels an image shows 2.5.

    Args:
        maps: of every label.
        tags: multi-hot.

    Returns:
        Maps of as many labels l as the image with the most tags has, background first; images with
        fewer are filled up by maps of other classes, and the second says 0 there, 1 elsewhere.
    """
    here = present(tags)
    most = 1 + max(1, int(tags.sum(1).max()))  # one class at least, absent where none is tagged
    order = here.argsort(dim=1, descending=True, stable=True)[:, :most]
    chosen = maps.gather(1, order.expand(-1, -1, *maps.shape[-2:]))
    return chosen, here.gather(1, order)


def one_hot(cam: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """Keep the strongest class of each pixel, and ties; background stays as it is.

    Source: `max_onehot` of the official SEAM code.
    """
    classes = cam[:, 1:]
    strongest = classes.amax(1, keepdim=True)
    return torch.cat([cam[:, :1], classes.masked_fill(classes != strongest, 0)], dim=1)


def max_normalise(
    cam: Float[Tensor, "*batch h w"], eps: float = 1e-5
) -> Float[Tensor, "*batch h w"]:
    """Stretch each map over [0, 1): relu(x - min - eps) / (max - min + eps) of x = relu(cam).

    A map without positive evidence stays zero: divided by its own tiny maximum, noise would become
    a confident seed.

    Args:
        cam: raw class activation, unbounded.
        eps: floor of evidence, in units of `cam`.

    Returns:
        Scores in [0, 1).

    Source: `max_norm` of the official SEAM code; the paper only says "normalised".
    """
    evidence = cam.relu()
    low, high = evidence.amin((-2, -1), keepdim=True), evidence.amax((-2, -1), keepdim=True)
    return (evidence - low - eps).relu() / (high - low + eps)


def normalise_jointly(
    maps: Float[Tensor, "*batch n h w"], eps: float = 1e-5
) -> Float[Tensor, "*batch n h w"]:
    """Divide all n maps of a class by their common maximum: x / (max + eps) of x = relu(maps).

    Args:
        maps: raw maps of the sub-categories of a class, unbounded.
        eps: floor of evidence, in units of `maps`.

    Returns:
        Scores in [0, 1).

    Source: `cam_subcls_norm` of the official SC-CAM code.
    """
    evidence = maps.relu()
    return evidence / (evidence.amax((-3, -2, -1), keepdim=True) + eps)


def channel_weights(gradient: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d"]:
    """Importance of each channel: the mean of the score's gradient over the map.

    Source: Selvaraju et al. 2017, eq. 1.
    """
    return gradient.mean((-2, -1))


def grad_cam(
    activation: Float[Tensor, "b d h w"], gradient: Float[Tensor, "b d h w"]
) -> Float[Tensor, "b h w"]:
    """relu(sum_d weight_d * activation_d), weights being the mean gradients.

    With pooling and a linear head after the layer this is the CAM divided by h * w.

    Args:
        activation: output of the layer.
        gradient: of one class's logit (not its probability, whose gradient vanishes where the
            network is sure) with respect to `activation`.

    Source: Selvaraju et al. 2017, eq. 2.
    """
    return torch.einsum("bd,bdhw->bhw", channel_weights(gradient), activation).relu()


def with_constant_background(
    score: Float[Tensor, "*batch c h w"], background_score: float
) -> Float[Tensor, "*batch k h w"]:
    """Put a constant map for the background before those of the classes.

    Args:
        score: in [0, 1].
        background_score: in [0, 1]; a pixel is background where no class scores higher.
    """
    return F.pad(score, (0, 0, 0, 0, 1, 0), value=background_score)


def with_power_background(
    score: Float[Tensor, "*batch c h w"], power: float
) -> Float[Tensor, "*batch k h w"]:
    """Put (1 - max_c score) ** power before the maps of the classes.

    Args:
        score: in [0, 1].
        power: alpha of the paper; the larger, the less background.

    Source: Ahn & Kwak 2018 (AffinityNet), eq. 2.
    """
    background = (1 - _strongest(score)).clamp(0, 1) ** power
    return torch.cat([background, score], dim=-3)


def normalise_over_labels(score: Float[Tensor, "k h w"]) -> Float[Tensor, "k h w"]:
    """Scores of all labels as probabilities: each pixel's divided by their sum."""
    return score / score.sum(0, keepdim=True).clamp(min=1e-6)


def seed_mask(
    score: Float[Tensor, "*batch c h w"], background_score: float
) -> Int[Tensor, "*batch h w"]:
    """The strongest class, or background where it does not exceed the background's score."""
    return with_constant_background(score, background_score).argmax(dim=-3)


def _strongest(score: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "*batch 1 h w"]:
    if score.shape[-3] == 0:  # an image without tags
        return score.new_zeros(*score.shape[:-3], 1, *score.shape[-2:])
    return score.amax(-3, keepdim=True)
