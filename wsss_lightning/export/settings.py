"""What can be exported, and how. Nothing here imports PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from wsss_lightning.errors import InputError, did_you_mean


class Format(NamedTuple):
    """A file format.

    Attributes:
        suffix: of its files.
        packages: modules that writing and verifying need, besides those of this package.
        summary: one line for help and documentation.
    """

    suffix: str
    packages: tuple[str, ...]
    summary: str


FORMATS: Final = {
    "onnx": Format(
        ".onnx", ("onnx", "onnxscript", "onnxruntime"), "for ONNX Runtime, in any language"
    ),
    "torch-export": Format(".pt2", (), "for PyTorch without this package (torch.export)"),
    "safetensors": Format(".safetensors", (), "weights and description, for this package"),
}
RETIRED: Final = {
    "torchscript": "TorchScript is deprecated in PyTorch, whose replacement is torch.export",
    "pt2": "torch.export's files end in .pt2",
}
OUTPUTS: Final = {
    "segmentation": ("logits", "probabilities", "mask"),
    "classification": ("logits", "probabilities", "cams"),
}
DEFAULT_OUTPUTS: Final = {
    "segmentation": ("logits",),
    "classification": ("probabilities", "cams"),
}
PREPROCESSING: Final = ("none", "inside")
OLDEST_OPSET: Final = 18  # of the operators that PyTorch's exporter writes
OPSET: Final = 18
MIN_SIDE: Final = 64  # pixels; PyTorch derives several conditions for smaller images
SIZE: Final = (192, 256)


@dataclass(frozen=True)
class ExportSettings:
    """How a network is exported.

    Args:
        format: key of `FORMATS`.
        outputs: outputs of the file, in order; None: `DEFAULT_OUTPUTS`.
        preprocessing: "none": the input is float32 (b 3 H W) in [0, 1]; "inside": it is uint8
            (b H W 3), as image libraries decode it.
        opset: version of ONNX's operators, `OLDEST_OPSET` or newer.
        size: height and width of the images of verification and benchmark, in pixels, at least
            `MIN_SIDE`; of every image if `fixed_size`.
        fixed_size: fix batch size (1), height and width.

    Raises:
        InputError: a value is out of range, or has no meaning in the format.
    """

    format: str = "onnx"
    outputs: Sequence[str] | None = None
    preprocessing: str = "none"
    opset: int = OPSET
    size: tuple[int, int] = SIZE
    fixed_size: bool = False

    def __post_init__(self) -> None:
        check_format(self.format)
        if self.preprocessing not in PREPROCESSING:
            raise InputError(
                f"preprocessing is {self.preprocessing}, but must be {' or '.join(PREPROCESSING)}"
            )
        if self.opset < OLDEST_OPSET:
            raise InputError(
                f"opset is {self.opset}, but PyTorch's exporter writes opset {OLDEST_OPSET} and "
                "newer"
            )
        if min(self.size) < MIN_SIDE:
            raise InputError(
                f"size is {self.size[0]} x {self.size[1]}, but height and width must be at least "
                f"{MIN_SIDE} pixels"
            )
        if self.format == "safetensors":
            for name, changed in (
                ("outputs", self.outputs is not None),
                ("preprocessing", self.preprocessing != "none"),
                ("fixed_size", self.fixed_size),
            ):
                if changed:
                    raise InputError(
                        f"{name} cannot be given for format safetensors, which holds weights and "
                        "no program; leave it out, or choose format onnx or torch-export"
                    )
        if self.format != "onnx" and self.opset != OPSET:
            raise InputError(f"opset belongs to format onnx, not to {self.format}; leave it out")

    def outputs_of(self, task: str) -> tuple[str, ...]:
        """Outputs for a task.

        Raises:
            InputError: the task has no such output, or one is given twice.
        """
        if self.outputs is None:
            return DEFAULT_OUTPUTS[task]
        for name in self.outputs:
            if name not in OUTPUTS[task]:
                raise InputError(
                    f"outputs has {name}, but a model for {task} has {', '.join(OUTPUTS[task])}; "
                    f"{did_you_mean(name, OUTPUTS[task])}"
                )
        if not self.outputs or len(set(self.outputs)) != len(self.outputs):
            raise InputError(f"outputs is {list(self.outputs)}, but must name each output once")
        return tuple(self.outputs)


def check_format(name: str) -> None:
    """Check that a format exists.

    Raises:
        InputError: it does not.
    """
    if name in RETIRED:
        raise InputError(f"format is {name}, but {RETIRED[name]}; choose torch-export or onnx")
    if name not in FORMATS:
        raise InputError(f"format is {name}, which is unknown; {did_you_mean(name, FORMATS)}")
