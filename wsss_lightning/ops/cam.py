"""Class activation maps to scores.

Letters: b images, c classes, k = c + 1 with background first, d channels, h w a map.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def present(tags: Float[Tensor, "b c"]) -> Float[Tensor, "b k 1 1"]:
    """Multi-hot labels that an image may show: its tags and the background."""
    return F.pad(tags, (1, 0), value=1.0)[..., None, None]


def gather_present(
    maps: Float[Tensor, "b k h w"], tags: Float[Tensor, "b c"]
) -> tuple[Float[Tensor, "b l h w"], Float[Tensor, "b l 1 1"]]:
    """The maps of background and of the tagged classes, and a mask of these.

    Losses that ignore absent classes are cheaper without them: an image of VOC has 2.5 of 21
    labels on average.

    Args:
        maps: maps of every label.
        tags: multi-hot.

    Returns:
        Maps of l labels, as many as the image with the most tags has, background first. Images with
        fewer tags are filled with maps of other classes. The mask is 0 for these, 1 otherwise.
    """
    labels = present(tags)
    most = 1 + max(1, int(tags.sum(1).max()))  # at least one class, even where no image has a tag
    order = labels.argsort(dim=1, descending=True, stable=True)[:, :most]
    chosen = maps.gather(1, order.expand(-1, -1, *maps.shape[-2:]))
    return chosen, labels.gather(1, order)


def one_hot(cam: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """Zero all classes but the strongest of each pixel, ties included; keep the background.

    Source: `max_onehot` of the official SEAM code.
    """
    classes = cam[:, 1:]
    strongest = classes.amax(1, keepdim=True)
    return torch.cat([cam[:, :1], classes.masked_fill(classes != strongest, 0)], dim=1)


def max_normalise(
    cam: Float[Tensor, "*batch h w"], eps: float = 1e-5
) -> Float[Tensor, "*batch h w"]:
    """Scale each map to [0, 1): relu(x - min - eps) / (max - min + eps) with x = relu(cam).

    A map without positive evidence stays zero. Dividing it by its own tiny maximum would turn
    noise into a confident seed.

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
    """Divide the n maps of a class by their common maximum: x / (max + eps) with x = relu(maps).

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
    """Weight of each channel: the mean gradient of the score over the map.

    Source: Selvaraju et al. 2017, eq. 1.
    """
    return gradient.mean((-2, -1))


def grad_cam(
    activation: Float[Tensor, "b d h w"], gradient: Float[Tensor, "b d h w"]
) -> Float[Tensor, "b h w"]:
    """relu(sum_d weight_d * activation_d) with weight_d the mean gradient of channel d.

    Where average pooling and a linear head follow the layer, this is the CAM divided by h * w.

    Args:
        activation: output of the layer.
        gradient: gradient of one class's logit with respect to `activation`; the gradient of the
            probability would vanish for confident predictions.

    Source: Selvaraju et al. 2017, eq. 2.
    """
    return torch.einsum("bd,bdhw->bhw", channel_weights(gradient), activation).relu()


def with_constant_background(
    score: Float[Tensor, "*batch c h w"], background_score: float
) -> Float[Tensor, "*batch k h w"]:
    """Prepend a constant background map.

    Args:
        score: in [0, 1].
        background_score: in [0, 1]; a pixel is background where no class scores higher.
    """
    return F.pad(score, (0, 0, 0, 0, 1, 0), value=background_score)


def with_power_background(
    score: Float[Tensor, "*batch c h w"], power: float
) -> Float[Tensor, "*batch k h w"]:
    """Prepend the background map (1 - max_c score) ** power.

    Args:
        score: in [0, 1].
        power: alpha of the paper, above 0; the larger, the less background.

    Source: Ahn & Kwak 2018 (AffinityNet), eq. 2.
    """
    background = (1 - _strongest(score)).clamp(0, 1) ** power
    return torch.cat([background, score], dim=-3)


def normalise_over_labels(score: Float[Tensor, "k h w"]) -> Float[Tensor, "k h w"]:
    """Divide the scores of each pixel by their sum, so that they are probabilities of labels."""
    return score / score.sum(0, keepdim=True).clamp(min=1e-6)


def _strongest(score: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "*batch 1 h w"]:
    if score.shape[-3] == 0:  # an image without tags
        return score.new_zeros(*score.shape[:-3], 1, *score.shape[-2:])
    return score.amax(-3, keepdim=True)
