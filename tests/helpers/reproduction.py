"""Scripts of the reproduction kit, which import each other by name."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

KIT = Path(__file__).parents[2] / "experiments/reproduce/voc2012"


def script(name: str) -> ModuleType:
    """A script of the kit, without running it."""
    if str(KIT) not in sys.path:
        sys.path.append(str(KIT))
    return importlib.import_module(name)
