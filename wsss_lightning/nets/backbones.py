"""Backbones by name: encoders of segmentation_models_pytorch and of timm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
from torch import nn

from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.nets.normalisation import IMAGENET, Statistics, known_statistics
from wsss_lightning.nets.optim import freeze_batch_norm
from wsss_lightning.nets.resnet38 import ResNet38
from wsss_lightning.nets.resnet_caffe import CaffeResNet
from wsss_lightning.nets.weights import (
    is_official,
    misfits,
    read_official,
    read_weights,
    shapes_of,
)

# prefixes of the layers after the features in classification networks
HEADS = ("fc.", "classifier.", "head.", "last_linear.")

# registered so that decoders of segmentation_models_pytorch find them by name
smp.encoders.encoders["resnet38"] = {"encoder": ResNet38, "pretrained_settings": {}, "params": {}}
smp.encoders.encoders["resnet101_caffe"] = {
    "encoder": CaffeResNet,
    "pretrained_settings": {},
    "params": {"blocks": [3, 4, 23, 3]},
}


@dataclass(frozen=True)
class Backbone:
    """Settings of a backbone. Networks call `build`, or `load` on an encoder that they built.

    Args:
        name: network of segmentation_models_pytorch (torchvision's names, such as resnet50) or
            of timm, where a tag after a dot selects one of several weights (resnet18.a1_in1k).
            The prefix `tu-` selects timm's network where both libraries have one.
        output_stride: output stride of the last map, 8, 16 or 32; below 32, strides become
            dilations.
        pretrained: load ImageNet weights from the hub.
        weights: local .safetensors or .pth file of a classification network of this name, loaded
            strictly but without its head. For resnet38: an official checkpoint; for
            resnet101_caffe: a checkpoint of deeplab-pytorch.
        freeze_norm: keep batch norms at their stored statistics; None: only with pretrained
            weights, whose statistics small batches would spoil.
        frozen: names of layers of the encoder that are not trained.
        options: further arguments of timm's constructor.
        mean: mean of red, green and blue in [0, 1], subtracted from images; None: the mean that
            weights of this name (and tag) were trained with, whatever the source of the weights.
        std: divisor of each channel, in (0, 1]; None: likewise.
        dilated: compensate the strides that `output_stride` removes by dilation. False: keep the
            kernels, as in the official IRN code, so that their receptive field is smaller.

    Raises:
        ValueError: values are out of range or contradict each other.
    """

    name: str
    output_stride: int
    pretrained: bool
    weights: str | Path | None
    freeze_norm: bool | None
    frozen: Sequence[str]
    options: Mapping[str, Any]
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    dilated: bool = True

    def __post_init__(self) -> None:
        if self.output_stride not in (8, 16, 32):
            raise ValueError(
                f"output_stride must be 8, 16 or 32, got {self.output_stride}; 8 gives the finest "
                "maps and is the slowest"
            )
        if self.pretrained and self.weights:
            raise ValueError(
                f"weights must be null where pretrained is true, got {self.weights}; set only one "
                "of both"
            )
        if self.pretrained and self.name == "resnet38":
            raise ValueError(
                "pretrained must be false for resnet38, which is in no hub, got True; set weights "
                "to an official .pth file of PSA, SEAM or SC-CAM, or of ImageNet in their layout"
            )
        if not self.dilated and self.name == "resnet38":
            raise ValueError(
                "dilated must be true for resnet38, which every official code dilates, got False; "
                "choose another backbone to leave dilation out"
            )
        for name, values, interval in (("mean", self.mean, "[0, 1]"), ("std", self.std, "(0, 1]")):
            if values is not None and not (
                len(values) == 3
                and all(0 <= value <= 1 for value in values)
                and (name == "mean" or min(values) > 0)
            ):
                raise ValueError(
                    f"{name} must be three numbers in {interval}, of red, green and blue, got "
                    f"{list(values)}; ImageNet's are {list(getattr(IMAGENET, name))}, null takes "
                    "those of the weights, and numbers of levels 0..255 are divided by 255"
                )

    @property
    def encoder_name(self) -> str:
        """The name in segmentation_models_pytorch, which prefixes timm's networks with `tu-`.

        Raises:
            ValueError: neither library has a network of this name.
        """
        if self.name in smp.encoders.get_encoder_names():
            return self.name
        bare = self.name.removeprefix("tu-").split(".")[0]
        if timm.is_model(bare):
            self._check_tag()
            return f"tu-{self.name.removeprefix('tu-')}"
        known = [*smp.encoders.get_encoder_names(), *timm.list_models()]
        raise ValueError(
            "name must be a network of segmentation_models_pytorch or timm, got "
            f"{self.name}; {did_you_mean(self.name, known)}"
        )

    def _check_tag(self) -> None:
        architecture, _, tag = self.name.removeprefix("tu-").partition(".")
        tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
        if tag and tag not in tags:
            raise ValueError(
                f"name must end with a tag of timm's weights of {architecture}, got {self.name}; "
                f"{did_you_mean(tag, tags)}"
            )

    @property
    def encoder_weights(self) -> Any:
        """The argument `encoder_weights` of segmentation_models_pytorch.

        Raises:
            ValueError: the hub has no ImageNet weights of this name.
        """
        if not self.pretrained:
            return None
        name = self.encoder_name
        if name.startswith("tu-"):
            if timm.models.is_model_pretrained(name.removeprefix("tu-")):
                return True
            offered: Sequence[str] = ()
        else:
            offered = list(smp.encoders.encoders[name]["pretrained_settings"])
            # 5k: ImageNet's classes and 4,000 others
            for weights in ("imagenet", "imagenet+5k"):
                if weights in offered:
                    return weights
        others = f" (only {', '.join(offered)})" if offered else ""
        raise ValueError(
            f"pretrained must be false for {self.name}, for which the hub has no ImageNet weights"
            f"{others}, got True; set weights to a file instead"
        )

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and std by which images are normalised.

        Raises:
            InputError: as in `known_statistics`.
        """
        if self.mean is not None and self.std is not None:
            return Statistics(tuple(self.mean), tuple(self.std))
        hub = self.encoder_weights
        known = known_statistics(self.encoder_name, hub if isinstance(hub, str) else None)
        return Statistics(
            known.mean if self.mean is None else tuple(self.mean),
            known.std if self.std is None else tuple(self.std),
        )

    @property
    def known_options(self) -> Mapping[str, Any]:
        """`options`, for an encoder that accepts them.

        Raises:
            ValueError: the encoder is not timm's; segmentation_models_pytorch would ignore them.
        """
        if self.options and not self.encoder_name.startswith("tu-"):
            raise ValueError(
                f"options must be empty for {self.name}, a network of segmentation_models_pytorch, "
                f"got {dict(self.options)}; tu-{self.name} names timm's "
                "network, where it has one"
            )
        return self.options

    @property
    def keeps_norm(self) -> bool:
        if self.freeze_norm is None:
            return bool(self.pretrained or self.weights)
        return self.freeze_norm

    def build(self) -> nn.Module:
        """Build the encoder: image (b 3 H W) -> maps of stride 1, 2, 4, ..., the deepest last.

        Raises:
            ValueError: the library cannot build it with these settings, or `weights` do not fit.
        """
        name, weights, options = self.encoder_name, self.encoder_weights, self.known_options
        try:
            encoder = smp.encoders.get_encoder(
                name, depth=5, weights=weights, output_stride=self.output_stride, **options
            )
        except Exception as error:  # libraries reject arguments with exceptions of many types
            message = (
                f"name must be a network that can be built with output_stride {self.output_stride} "
                f"and options {dict(options)}, got {self.name}; its library reports: "
                f"{str(error).rstrip('.!')}; output_stride 32 suits more networks, 8 and 16 suit "
                "networks whose stages halve the size of their maps, such as ResNet and ConvNeXt"
            )
            raise self.failure(message, error) from error
        return self.load(encoder)

    def failure(self, message: str, error: Exception) -> ValueError:
        """The error to raise where a library cannot build this network.

        Args:
            message: used unless the weights could not be fetched.
            error: raised by the library.
        """
        if self.pretrained and isinstance(error, OSError):
            return ValueError(
                f"pretrained must be false unless the hub can be reached, got True; fetching the "
                f"weights of {self.name} failed ({error}): connect to the hub once, or set weights "
                "to a file"
            )
        return ValueError(message)

    def load(self, encoder: nn.Module) -> nn.Module:
        """Apply `dilated`, `weights` and `frozen` to an encoder.

        Args:
            encoder: built with the name, output stride and options of this backbone.

        Raises:
            ValueError: `weights` do not fit, or the encoder has no layer of a name in `frozen`.
        """
        if not self.dilated:
            _undilate(encoder)
        if self.weights:
            load_weights(encoder, Path(self.weights), self.name, self.options)
        for part in self.frozen:
            submodule(encoder, part, "frozen").requires_grad_(False)
        return encoder

    def keep(self, encoder: nn.Module) -> None:
        """Set frozen batch norms to evaluation mode; call it after every `train()`."""
        if self.keeps_norm:
            freeze_batch_norm(encoder)


def _undilate(encoder: nn.Module) -> None:
    """Set the dilation of all convolutions to 1 and keep the size of their maps."""
    for part in encoder.modules():
        if isinstance(part, nn.Conv2d) and part.dilation != (1, 1):
            down, across = (int(side) for side in part.padding)
            part.padding = (down // part.dilation[0], across // part.dilation[1])
            part.dilation = (1, 1)


def submodule(module: nn.Module, name: str, parameter: str) -> nn.Module:
    """`module.get_submodule`, with an error that names the closest match.

    Args:
        module: the network.
        name: of the layer, with dots.
        parameter: parameter of the caller that gave the name, for the error.

    Raises:
        ValueError: there is no such layer.
    """
    named = dict(module.named_modules())
    if name not in named:
        raise ValueError(
            f"{parameter} must name a layer of the network, got {name}; {_nearest(name, named)}"
        )
    return named[name]


def _nearest(name: str, named: Mapping[str, nn.Module]) -> str:
    # deep networks have hundreds of layers: list the upper levels only
    return did_you_mean(name, [n for n in named if n and (n.count(".") < 2 or len(named) < 40)])


def load_weights(encoder: nn.Module, path: Path, name: str, options: Mapping[str, Any]) -> None:
    """Load the file of a classification network into its encoder, strictly.

    Args:
        encoder: to load into.
        path: path of the file.
        name: of the network.
        options: options of timm's constructor.

    Raises:
        InputError: the file cannot be read; keys or shapes differ.
    """
    state = read_weights(path)
    if isinstance(encoder, (ResNet38, CaffeResNet)) and is_official(state):
        state = dict(read_official(state, path).encoder)
    wanted = shapes_of(encoder)
    given = {key: key for key in state if not key.startswith(HEADS)}
    if hasattr(encoder, "model") and not set(given) & set(wanted):
        # timm's feature networks name stages blocks_0 instead of blocks.0, and the encoder adds
        # the prefix `model.`
        by_dots = {key.removeprefix("model.").replace("_", "."): key for key in wanted}
        given = {by_dots.get(key.replace("_", "."), key): key for key in given}
        if set(given) - set(wanted):
            # feature networks lack the layers after the last stage
            whole = timm.create_model(name.removeprefix("tu-"), pretrained=False, **options)
            known = set(whole.state_dict())
            given = {o: key for o, key in given.items() if o in wanted or key not in known}
    by_ours = {ours: state[key] for ours, key in given.items()}
    fault = misfits(by_ours, wanted, set(given) - set(wanted))
    if fault:
        raise InputError(
            f"weights must be those of {name}, got {path}; {fault}. Set the file of exactly this "
            "network, or the name of the network that the file was made from."
        )
    nn.Module.load_state_dict(encoder, by_ours, strict=False)
