"""Compare our sub-categories with the official script of SC-CAM: labels, time and memory.

    git clone https://github.com/Juliachang/SC-CAM OFFICIAL
    python experiments/benchmarks/clusters/benchmark.py OFFICIAL

Features are random: 14 modes per class, half of all numbers zero, as after a ReLU. The official
code is not part of this repository; its functions are imported from its folder and called in its
order.
"""

import argparse
import importlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import MagicMock, patch

import numpy as np

from wsss_lightning.methods.sc_cam.clusters import ABSENT, cluster, sub_tags

CLASSES, CLUSTERS = 20, 10
SETTINGS = {"algorithm": "kmeans", "n_init": 10, "max_iter": 300, "seed": 0}


def draw(folder: Path, images: int, numbers: int, seed: int) -> None:
    """Write features (n d) and tags (n c); 1.56 tags per image as in VOC, a third of one class."""
    rng = np.random.default_rng(seed)
    tags = rng.random((images, CLASSES)) < np.r_[np.full(CLASSES - 1, 0.03), 0.4]
    bare = np.flatnonzero(~tags.any(1))
    tags[bare, rng.integers(CLASSES, size=len(bare))] = True
    features = rng.standard_normal((images, numbers)).astype(np.float32)
    centres = rng.standard_normal((CLASSES, 14, numbers)).astype(np.float32)
    for i, c in zip(*np.nonzero(tags), strict=True):
        features[i] += 0.5 * centres[c, rng.integers(14)]
    np.save(folder / "features.npy", features.clip(0))
    np.save(folder / "tags.npy", tags.astype(np.float32))


def theirs(folder: Path, official: Path) -> np.ndarray:
    """The steps of `create_pseudo_label.py` after reading its lists, by its own functions."""
    sys.path.insert(0, str(official))
    drawing = {f"matplotlib{part}" for part in ("", ".image", ".pyplot", ".patches")}
    # modules that it imports but needs only for drawing, or not at all
    with patch.dict(sys.modules, {k: MagicMock() for k in (*drawing, "scipy.misc", "pandas")}):
        code = importlib.import_module("create_pseudo_label")
    features, tags = np.load(folder / "features.npy"), np.load(folder / "tags.npy")
    names = [f"{i:011d}" for i in range(len(tags))]
    by_class, names_by_class = code.make_filename_class_dict(names, tags)
    merged = code.merge_filename_class_dict(names_by_class)
    repeated = code.generate_repeat_list(merged)
    kept, _ = code.remove_duplicate_label(repeated)
    labels: list = []
    for c in range(CLASSES):
        own = [features[i] for i in by_class[c]]
        # the default of n_init when the script was written
        found = code.KMeans(n_clusters=CLUSTERS, random_state=0, max_iter=300, n_init=10).fit(own)
        labels = code.make_subclass_label(c, found.labels_, CLUSTERS, labels)
    joined = code.generate_merged_label(repeated, labels)
    rows = {merged[i]: joined[i] for i in kept}
    return np.stack([rows[name] for name in names])


def ours(folder: Path) -> np.ndarray:
    """The same by our functions, as the step `cluster` calls them."""
    features, tags = np.load(folder / "features.npy"), np.load(folder / "tags.npy")
    numbers = np.full(tags.shape, ABSENT)
    for c in range(CLASSES):
        present = np.flatnonzero(tags[:, c])
        numbers[present, c] = cluster(features[present], CLUSTERS, **SETTINGS)
    return sub_tags(numbers, CLUSTERS).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("official", type=Path, help="folder of the official code")
    parser.add_argument("--images", type=int, default=10582)
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        side, folder = args.part[0], Path(args.part[1])
        start = time.perf_counter()
        found = theirs(folder, args.official) if side == "theirs" else ours(folder)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        np.save(folder / f"{side}.npy", np.asarray(found, np.uint8))
        print(f"{side}: {seconds:.1f} s, peak {peak:.2f} GiB", flush=True)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, args.images, args.features, args.seed)
        tags = np.load(folder / "tags.npy")
        print(f"{args.images} x {args.features} features, {int(tags.sum())} tags", flush=True)
        for side in ("theirs", "ours"):  # each in its own process, to measure its memory
            part = [str(args.official), "--part", side, name]
            subprocess.run([sys.executable, __file__, *part], check=True)
        one, other = (np.load(folder / f"{side}.npy") for side in ("theirs", "ours"))
        same = (one == other).all(1).mean()
        print(f"images with equal sub-categories: {same:.2%}")


if __name__ == "__main__":
    main()
