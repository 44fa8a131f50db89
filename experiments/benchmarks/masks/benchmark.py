"""How much of a run's pseudo masks each format of a labelling tool keeps, and at what size.

Exports evenly spaced pseudo masks of a run in every format and prints the mean IoU of the classes
between the masks and the export that is read back, its size, and the time of one core.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np

from wsss_lightning.export.masks.exporting import ExportOptions, export_masks
from wsss_lightning.export.masks.formats import FORMATS
from wsss_lightning.export.masks.sources import open_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--images", type=int, default=60, help="number of masks")
    parser.add_argument("--min-area", type=int, default=20, help="as of export-masks, pixels")
    parser.add_argument("--simplify", type=float, nargs="+", default=[0, 0.5, 1, 2, 3])
    given = parser.parse_args()
    source = open_source(given.run)
    chosen = np.linspace(0, len(source.names) - 1, min(given.images, len(source.names)))
    names = [source.names[i] for i in np.unique(chosen.astype(int))]
    source = dataclasses.replace(source, names=names)
    print("| format | simplify | IoU | kB per image | ms per image |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, kind in FORMATS.items():
        for tolerance in given.simplify if kind.polygons else [0]:
            options = ExportOptions(simplify=tolerance, min_area=given.min_area)
            with tempfile.TemporaryDirectory() as folder:
                start = time.process_time()
                report = export_masks(source, name, Path(folder) / "masks", options)
                seconds = time.process_time() - start
                files = [path for path in Path(folder).rglob("*") if not path.is_symlink()]
                size = sum(path.stat().st_size for path in files if path.is_file())
            print(
                f"| {name} | {tolerance:g} | {100 * report.iou:.1f} % | "
                f"{size / 1000 / report.images:.1f} | {1000 * seconds / report.images:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
