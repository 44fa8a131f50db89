"""Dictionaries saved by `numpy.save`, unpickled without running code."""

import os
import pickle
import pickletools
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from wsss_lightning.errors import InputError


def read_npy_dict(path: Path) -> dict[Any, Any]:
    """Read a dictionary of arrays without running any code in the file.

    Raises:
        InputError: the file is damaged, or holds anything but a dictionary of arrays.
    """
    try:
        with path.open("rb") as file:
            _skip_npy_header(file)
            _check_pickle(path, file.tell(), os.fstat(file.fileno()).st_mtime_ns)
            # latin1: as numpy does for files of Python 2
            content = _ArrayUnpickler(file, encoding="latin1").load().item()
        if not isinstance(content, dict):
            raise ValueError("it holds no dictionary")
        return content
    except Exception as error:  # damaged pickles raise almost anything
        raise InputError(
            f"{path} cannot be read as tags ({error}); expected a dictionary from image name to "
            "multi-hot vector, saved by numpy.save."
        ) from error


class _ArrayUnpickler(pickle.Unpickler):
    """Builds dictionaries of arrays and refuses everything else."""

    # the functions by which arrays pickle themselves. Their modules differ between numpy 1 and 2,
    # so only the last part of the name is compared, and nothing is looked up or imported
    KNOWN: Final[dict[str, Any]] = {
        "_reconstruct": np.empty(0).__reduce__()[0],
        "_frombuffer": np.empty(0).__reduce_ex__(5)[0],
        "scalar": np.float32(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # of bytes, in protocols 0 to 2
            return _encode_latin1
        if module.split(".")[0] == "numpy" and name in self.KNOWN:
            return self.KNOWN[name]
        raise pickle.UnpicklingError(f"it calls {module}.{name}, which is not allowed")


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Python 3 calls this to unpickle bytes of an old protocol."""
    if encoding != "latin1":  # others could expand to gigabytes
        raise pickle.UnpicklingError(f"it encodes by {encoding}, which is not allowed")
    return text.encode("latin1")


@cache  # takes a second for tens of thousands of vectors, and every step reads them
def _check_pickle(path: Path, start: int, changed: int) -> None:
    """Refuse memo numbers above the size of the file.

    The unpickler of Python 3.11 allocates all entries below the number: up to 32 GB for a file of
    a few bytes.

    Args:
        start: offset of the pickle in the file.
        changed: modification time, part of the key of the cache.
    """
    most = path.stat().st_size
    with path.open("rb") as file:
        file.seek(start)
        for code, argument, _ in pickletools.genops(file):
            if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > most:
                raise ValueError(f"it asks for {argument} places in {most} bytes")


def _skip_npy_header(file: BinaryIO) -> None:
    major, _ = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    )
    _, _, dtype = read(file)
    if not dtype.hasobject:
        raise ValueError("it holds plain numbers without names")
