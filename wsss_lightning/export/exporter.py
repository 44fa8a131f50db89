"""Export of trained networks: written, verified against PyTorch, and only then left in place.

from wsss_lightning.export.exporter import export
from wsss_lightning.predict.model_file import load

print(export(load("runs/cam"), "cam.onnx"))
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss_lightning.errors import InputError
from wsss_lightning.export.benchmark import Benchmark, benchmark
from wsss_lightning.export.files import (
    Run,
    check_packages,
    metadata_of,
    read_onnx,
    read_program,
    read_weights,
    write_onnx,
    write_program,
    write_weights,
)
from wsss_lightning.export.network import ExportNetwork
from wsss_lightning.export.settings import FORMATS, ExportSettings
from wsss_lightning.export.verification import Agreement, sample_batches, verify
from wsss_lightning.predict.trained_model import TrainedModel
from wsss_lightning.utils.files import sync_folder


@dataclass(frozen=True)
class Exported:
    """A file that was written and verified.

    Args:
        path: the file.
        bytes: its size.
        network: the network that was exported, with its inputs and outputs.
        settings: how it was exported.
        agreements: how well it agrees with PyTorch, for each verified batch.
        benchmark: its speed; None where it was not measured.
    """

    path: Path
    bytes: int
    network: ExportNetwork
    settings: ExportSettings
    agreements: list[Agreement]
    benchmark: Benchmark | None

    def __str__(self) -> str:
        lines = [f"written    {self.path}, {self.bytes / 1e6:.1f} MB"]
        lines += [f"verified   {agreement}" for agreement in self.agreements]
        if self.benchmark is not None:
            lines.append(f"benchmark  {self.benchmark}")
        return "\n".join(lines)


def export(
    model: TrainedModel,
    path: str | Path,
    settings: ExportSettings | None = None,
    photos: Any = None,
    measure: bool = False,
) -> Exported:
    """Export a trained network to a file.

    The file is written under another name, opened and compared with the network in PyTorch at two
    sizes, and renamed if they agree.

    Args:
        model: the trained model.
        path: file to write; its suffix is that of the format.
        settings: format, inputs and outputs; None: ONNX with the defaults of `ExportSettings`.
        photos: images for the comparison, as `Predictor` takes them; None: random colours.
        measure: compare the speed with PyTorch's.

    Raises:
        InputError: a setting, photo or package cannot be used, the network cannot be exported, or
            the exported network differs from the trained one.
    """
    settings = settings or ExportSettings()
    path = Path(path).expanduser()
    suffix = FORMATS[settings.format].suffix
    if path.suffix != suffix:
        raise InputError(f"{path} must end in {suffix}, the suffix of format {settings.format}.")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder; create it, or choose another file.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; choose another file.")
    check_packages(settings.format)
    outputs = settings.outputs_of(model.info.task)
    network = ExportNetwork(model, outputs, settings.preprocessing == "inside")
    batches = sample_batches(settings.size, settings.fixed_size, photos)
    # beside the target, so that renaming is atomic
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        written = Path(temporary) / f"export{suffix}"
        run = _write(written, model, network, settings)
        agreements = verify(network, run, batches)
        speed = benchmark(network, run, batches[0]) if measure else None
        _sync(written)
        size = written.stat().st_size
        written.replace(path)
    sync_folder(path.parent)
    return Exported(path, size, network, settings, agreements, speed)


def _write(
    path: Path, model: TrainedModel, network: ExportNetwork, settings: ExportSettings
) -> Run:
    """Write a file, and open it."""
    if settings.format == "safetensors":
        write_weights(path, model)
        return read_weights(path, network)
    metadata = metadata_of(model.info, network, settings)
    write: Callable[..., None]
    write, read = (
        (write_onnx, read_onnx) if settings.format == "onnx" else (write_program, read_program)
    )
    write(path, network, settings, metadata)
    return read(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
