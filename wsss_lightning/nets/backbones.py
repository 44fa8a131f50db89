"""Backbones by name: the torchvision-like encoders of segmentation_models_pytorch, and timm's."""

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

# what a classification network has after its features
HEADS = ("fc.", "classifier.", "head.", "last_linear.")

# so that decoders of segmentation_models_pytorch find it by its name, as they find their own
smp.encoders.encoders["resnet38"] = {"encoder": ResNet38, "pretrained_settings": {}, "params": {}}
smp.encoders.encoders["resnet101_caffe"] = {
    "encoder": CaffeResNet,
    "pretrained_settings": {},
    "params": {"blocks": [3, 4, 23, 3]},
}


@dataclass(frozen=True)
class Backbone:
    """What a backbone is built from; networks call `build`, or `load` on an encoder of theirs.

    Args:
        name: of segmentation_models_pytorch (torchvision's names, such as resnet50) or of timm,
            where a tag behind a dot chooses between several weights (resnet18.a1_in1k). `tu-` in
            front means timm's network where both have one.
        output_stride: 8, 16 or 32 pixels of the image a cell of the last map; below 32, strides
            become dilations.
        pretrained: take the ImageNet weights of the hub.
        weights: local .safetensors or .pth file of a classification network of this name; loaded
            strictly, its classification head left out. For resnet38: an official checkpoint; for
            resnet101_caffe: one of deeplab-pytorch.
        freeze_norm: keep batch norms at their stored statistics; None: just where there are
            weights to keep, since small batches spoil good statistics.
        frozen: parts that are not trained, by their names inside the encoder.
        options: further arguments of timm's constructor.
        mean: of red, green and blue in [0, 1], subtracted from images; None: what the weights of
            this name (and tag) were trained with, be they of the hub, of a file or random.
        std: of each channel, that images are then divided by; likewise.
        dilated: make up for the strides that `output_stride` leaves out by dilation; False: leave
            the kernels as they are, as the official IRN code does, so each sees a smaller field.
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
            raise InputError(
                f"backbone.output_stride is {self.output_stride}; set 8, 16 or 32 (8 gives the "
                "finest maps and is the slowest)."
            )
        if self.pretrained and self.weights:
            raise InputError(
                f"backbone.pretrained=true and backbone.weights={self.weights} exclude each "
                "other; set one of them."
            )
        if self.pretrained and self.name == "resnet38":
            raise InputError(
                "backbone.pretrained is true, but no hub has ResNet38; set backbone.weights=FILE "
                "to an official .pth of PSA, SEAM or SC-CAM, or of ImageNet in their layout."
            )
        if not self.dilated and self.name == "resnet38":
            raise InputError(
                "backbone.dilated is false, but ResNet38 is dilated in every official code; set it "
                "to true, or choose another backbone."
            )
        for key, values in (("mean", self.mean), ("std", self.std)):
            low = "above 0" if key == "std" else "0 or more"
            if values is not None and not (
                len(values) == 3
                and all(0 <= value <= 1 for value in values)
                and (key == "mean" or min(values) > 0)
            ):
                raise InputError(
                    f"backbone.{key} is {list(values)}; give three numbers for red, green and blue "
                    f"in [0, 1], each {low} and at most 1, such as "
                    f"{list(getattr(IMAGENET, key))}, or null for those of the weights. Divide "
                    "numbers of levels 0..255 by 255."
                )

    @property
    def encoder_name(self) -> str:
        """The name as segmentation_models_pytorch writes it: timm's networks behind `tu-`."""
        if self.name in smp.encoders.get_encoder_names():
            return self.name
        bare = self.name.removeprefix("tu-").split(".")[0]
        if timm.is_model(bare):
            self._check_tag()
            return f"tu-{self.name.removeprefix('tu-')}"
        known = [*smp.encoders.get_encoder_names(), *timm.list_models()]
        raise InputError(
            f"backbone.name is {self.name}, which neither segmentation_models_pytorch nor timm "
            f"knows; {did_you_mean(self.name, known)}"
        )

    def _check_tag(self) -> None:
        architecture, _, tag = self.name.removeprefix("tu-").partition(".")
        tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
        if tag and tag not in tags:
            raise InputError(
                f"backbone.name is {self.name}, but timm's {architecture} has no weights called "
                f"{tag}; {did_you_mean(tag, tags)}"
            )

    @property
    def encoder_weights(self) -> Any:
        """What segmentation_models_pytorch calls `encoder_weights`.

        Raises:
            InputError: the hub has no ImageNet weights of this name.
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
            # 5k: ImageNet's classes and 4,000 more
            for weights in ("imagenet", "imagenet+5k"):
                if weights in offered:
                    return weights
        others = f" (but {', '.join(offered)})" if offered else ""
        raise InputError(
            f"backbone.pretrained is true, but the hub has no ImageNet weights of {self.name}"
            f"{others}; set backbone.pretrained=false, or backbone.weights=FILE."
        )

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and std by which images are normalised.

        Raises:
            InputError: as of `known_statistics`.
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
        """`options`, for an encoder that heeds them.

        Raises:
            InputError: the encoder is not timm's; segmentation_models_pytorch would drop them.
        """
        if self.options and not self.encoder_name.startswith("tu-"):
            raise InputError(
                f"backbone.options is {dict(self.options)}, but {self.name}, a network of "
                f"segmentation_models_pytorch, takes none. {self._other_options()}"
                f"backbone.name=tu-{self.name} is timm's network, where it has one."
            )
        return self.options

    @property
    def keeps_norm(self) -> bool:
        if self.freeze_norm is None:
            return bool(self.pretrained or self.weights)
        return self.freeze_norm

    def build(self) -> nn.Module:
        """An encoder: image (b 3 H W) -> maps of stride 1, 2, 4, ..., the last the deepest."""
        try:
            encoder = smp.encoders.get_encoder(
                self.encoder_name,
                depth=5,
                weights=self.encoder_weights,
                output_stride=self.output_stride,
                **self.known_options,
            )
        except InputError:
            raise
        except Exception as error:  # networks raise what they like at what they do not support
            wanted = f"backbone.output_stride {self.output_stride}"
            advice = (
                "backbone.output_stride=32 fits more networks; those fit whose stages halve the "
                "size of their maps, as stages of ResNet and ConvNeXt do."
            )
            raise self.failure(wanted, error, advice) from error
        return self.load(encoder)

    def failure(self, wanted: str, error: Exception, advice: str) -> InputError:
        """What to raise where a library cannot build this network.

        Args:
            wanted: what it was asked for, besides name and options.
            error: that it raised.
            advice: what to change, a sentence.
        """
        if self.pretrained and isinstance(error, OSError):
            return InputError(
                f"backbone.pretrained is true, but the weights of {self.name} cannot be fetched "
                f"({error}); connect to the hub once, or set backbone.pretrained=false and "
                "backbone.weights=FILE."
            )
        reason = str(error).rstrip(".!")
        return InputError(
            f"backbone {self.name} cannot be built with {wanted} and backbone.options "
            f"{dict(self.options)}: {reason}. {self._other_options()}{advice}"
        )

    def _other_options(self) -> str:
        """How to choose the network without options that another one's file sets."""
        if not self.options:
            return ""
        return f"backbone=timm backbone.name={self.name} begins without options. "

    def load(self, encoder: nn.Module) -> nn.Module:
        """Undilate an encoder, load `weights` and freeze parts, as these arguments ask.

        Args:
            encoder: built with the name, output stride and options of this backbone.
        """
        if not self.dilated:
            _undilate(encoder)
        if self.weights:
            load_weights(encoder, Path(self.weights), self.name, self.options)
        for part in self.frozen:
            submodule(encoder, part, "backbone.frozen").requires_grad_(False)
        return encoder

    def keep(self, encoder: nn.Module) -> None:
        """Put batch norms that must not learn back to evaluation; after every `train()`."""
        if self.keeps_norm:
            freeze_batch_norm(encoder)


def _undilate(encoder: nn.Module) -> None:
    """Set the dilation of all convolutions to 1, and keep the size of their maps."""
    for part in encoder.modules():
        if isinstance(part, nn.Conv2d) and part.dilation != (1, 1):
            down, across = (int(side) for side in part.padding)
            part.padding = (down // part.dilation[0], across // part.dilation[1])
            part.dilation = (1, 1)


def submodule(module: nn.Module, name: str, key: str) -> nn.Module:
    """`module.get_submodule` that answers a slip, made in `key`, with the nearest name."""
    named = dict(module.named_modules())
    if name not in named:
        raise InputError(
            f"{key} is {name}, but the network has no such layer; {_nearest(name, named)}"
        )
    return named[name]


def _nearest(name: str, named: Mapping[str, nn.Module]) -> str:
    # a deep network has hundreds of layers: list the upper ones only
    return did_you_mean(name, [n for n in named if n and (n.count(".") < 2 or len(named) < 40)])


def load_weights(encoder: nn.Module, path: Path, name: str, options: Mapping[str, Any]) -> None:
    """Load a file of the classification network `name` into its encoder, strictly.

    Raises:
        InputError: keys or shapes differ; the message lists them.
    """
    state = read_weights(path)
    if isinstance(encoder, (ResNet38, CaffeResNet)) and is_official(state):
        state = dict(read_official(state, path).encoder)
    wanted = shapes_of(encoder)
    given = {key: key for key in state if not key.startswith(HEADS)}
    if hasattr(encoder, "model") and not set(given) & set(wanted):
        # timm names the stages of a feature network blocks_0 where the whole one says blocks.0,
        # and the encoder puts `model.` before both
        by_dots = {key.removeprefix("model.").replace("_", "."): key for key in wanted}
        given = {by_dots.get(key.replace("_", "."), key): key for key in given}
        if set(given) - set(wanted):
            # feature networks lack the layers behind the last stage
            whole = timm.create_model(name.removeprefix("tu-"), pretrained=False, **options)
            behind = set(whole.state_dict())
            given = {o: key for o, key in given.items() if o in wanted or key not in behind}
    by_ours = {ours: state[key] for ours, key in given.items()}
    wrong = misfits(by_ours, wanted, set(given) - set(wanted))
    if wrong:
        raise InputError(
            f"{path} does not fit backbone.name={name}: {wrong}. Give the file of this "
            "very network, or set backbone.name to the one the file was made from."
        )
    nn.Module.load_state_dict(encoder, by_ours, strict=False)
