"""Files of exported networks: writing, metadata, and running them.

Letters: c classes, k = c + 1 labels with background first.
"""

import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsss_lightning.errors import InputError
from wsss_lightning.export.network import ExportNetwork
from wsss_lightning.export.program import dynamic_shapes, export_program
from wsss_lightning.export.settings import FORMATS, MIN_SIDE, ExportSettings
from wsss_lightning.predict.model_file import read_model, save_model
from wsss_lightning.predict.model_info import ModelInfo, to_json
from wsss_lightning.predict.trained_model import TrainedModel

LIMIT = 2**31  # bytes of an ONNX file
METADATA_FILE = "metadata.json"  # inside .pt2 files

Run = Callable[[Tensor], tuple[Tensor, ...]]
"""The input of an exported network to its outputs."""


def check_packages(name: str) -> None:
    """Check that the packages that a format needs are installed.

    Raises:
        InputError: one is missing.
    """
    missing = [one for one in FORMATS[name].packages if importlib.util.find_spec(one) is None]
    if missing:
        raise InputError(
            f"format {name} needs {' and '.join(missing)}, which cannot be imported; "
            "pip install 'wsss-lightning[export]'"
        )


def metadata_of(
    info: ModelInfo, network: ExportNetwork, settings: ExportSettings
) -> dict[str, Any]:
    """Description of an exported file, for programs that know nothing of this package."""
    prediction = info.test if network.segments else info.cam
    low, high = (0, 255) if network.uint8_input else (0, 1)
    sides = {"fixed": list(settings.size)} if settings.fixed_size else {"least": MIN_SIDE}
    return {
        "task": info.task,
        # by their position among the channels of logits, and by their number in masks
        "labels": info.labels if network.segments else info.classes,
        "colours": info.colours if network.segments else info.colours[1:],
        "input": {
            "name": "image",
            "type": "uint8" if network.uint8_input else "float32",
            "axes": list(network.input_axes),
            "channels": "RGB",
            "range": [low, high],
            "sides": sides,
            "normalised": "inside the network",
        },
        "outputs": list(network.outputs),
        "mean": info.mean,
        "std": info.std,
        "long_side": (prediction or {}).get("long_side"),
        "model": json.loads(to_json(info)),
    }


def write_onnx(
    path: Path, network: ExportNetwork, settings: ExportSettings, metadata: Mapping[str, Any]
) -> None:
    """Write an ONNX file with all weights and the metadata as `metadata_props` of JSON values.

    Raises:
        InputError: the network cannot be traced or converted, or is too large for one file.
    """
    weights = sum(part.numel() * part.element_size() for part in network.state_dict().values())
    if weights > LIMIT - 2**24:
        raise InputError(
            f"the weights have {weights / 2**30:.1f} GiB, but an ONNX file holds less than 2; "
            "choose format torch-export"
        )
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if settings.opset > newest:
        raise InputError(
            f"opset is {settings.opset}, but the installed onnx {onnx.__version__} knows opsets up "
            f"to {newest}"
        )
    program = export_program(network, settings.size if settings.fixed_size else None)
    try:
        converted: Any = torch.onnx.export(
            program,
            dynamo=True,
            dynamic_shapes=None if settings.fixed_size else dynamic_shapes(network),
            input_names=["image"],
            output_names=list(network.outputs),
            opset_version=settings.opset,
            external_data=False,
            verbose=False,
        )
        model = converted.model_proto
    except Exception as error:  # of many types, of which only some are public
        cause = str(error).strip().rpartition("\n")[2] or type(error).__name__
        raise InputError(
            f"PyTorch's exporter cannot convert {type(network.module).__name__} to ONNX: {cause}"
        ) from error
    written = {entry.domain: entry.version for entry in model.opset_import}[""]
    if written != settings.opset:
        raise InputError(
            f"opset is {settings.opset}, but PyTorch's exporter wrote opset {written}, because an "
            "operator could not be converted; leave out --opset"
        )
    if not settings.fixed_size:
        _name_axes(model, network)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _name_axes(model: Any, network: ExportNetwork) -> None:
    """Replace formulas of the outputs' axes, such as min(height, 32 * ...), by names."""
    for output in model.graph.output:
        axes = output.type.tensor_type.shape.dim
        for axis, name in zip(axes, network.output_axes(output.name), strict=True):
            if name is not None:
                axis.dim_param = name


def read_onnx(path: Path) -> Run:
    """Open an ONNX file by ONNX Runtime on the CPU, with as many threads as PyTorch uses.

    Raises:
        InputError: ONNX Runtime rejects the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised, too
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of many types, of which only some are public
        raise InputError(f"ONNX Runtime rejects the exported network: {error}") from error

    def run(image: Tensor) -> tuple[Tensor, ...]:
        return tuple(map(torch.from_numpy, session.run(None, {"image": image.numpy()})))

    return run


def write_program(
    path: Path, network: ExportNetwork, settings: ExportSettings, metadata: Mapping[str, Any]
) -> None:
    """Write a program of torch.export, with the metadata as a file inside.

    Raises:
        InputError: the network cannot be traced.
    """
    program = export_program(network, settings.size if settings.fixed_size else None)
    with warnings.catch_warnings():
        # of weights in channels-last order, which are stored completely, as `verify` shows
        warnings.filterwarnings("ignore", message="No complete tensor found")
        torch.export.save(program, path, extra_files={METADATA_FILE: json.dumps(metadata)})


def read_program(path: Path) -> Run:
    """Open a program of torch.export."""
    run: Run = torch.export.load(path).module()
    return run


def write_weights(path: Path, model: TrainedModel) -> None:
    """Write a portable model without its card."""
    save_model(path.parent, model.module, model.info).rename(path)


def read_weights(path: Path, network: ExportNetwork) -> Run:
    """Open a portable model, with the outputs of a network."""
    return ExportNetwork(read_model(path), network.outputs, network.uint8_input)
