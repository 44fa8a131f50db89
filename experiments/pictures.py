"""Run the experiments and draw the results of each step, for README.md and docs/.

    python experiments/pictures.py                # all; about an hour on two cores without a cache
    python experiments/pictures.py pipeline       # only the one of README.md; a few minutes

All pictures show the same training images of the generated data. They are chosen at fixed ranks of
the mIoU of their pseudo masks in `experiment=cam`, so that good and bad ones appear. Runs are
cached in --runs.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from jaxtyping import UInt8
from omegaconf import OmegaConf
from PIL import Image

from wsss_lightning.cli import options  # noqa: F401  (registers the schema of configurations)
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.data.scores import load_mask, load_score
from wsss_lightning.figures.overlays import heat_overlay, mask_overlay
from wsss_lightning.figures.step_grid import object_probability, save_grid, step_grid
from wsss_lightning.ops.masks import IGNORE

IMAGES = Path(__file__).parents[1] / "docs/images"
TILE, ZOOM, FONT = 128, 2, 32
RANKS = {"pipeline": (0.1, 0.3, 0.5, 0.7)}  # from 0, the best image, to 1, the worst
OTHER_RANKS = (0.1, 0.5, 0.7)

SEEDS_ONLY = "pipeline.segment=false"
# overrides of each run; below, the columns of each picture: (heading, run, kind, folder in the run)
RUNS: Mapping[str, tuple[str, ...]] = {
    "cam": ("experiment=cam",),
    "grad_cam": ("experiment=grad_cam", SEEDS_ONLY),
    "seam": ("experiment=seam", SEEDS_ONLY),
    "sc_cam": ("experiment=sc_cam", SEEDS_ONLY, "pipeline.rounds=1"),
    "affinity": ("experiment=cam", SEEDS_ONLY, "refine=affinity"),
    "irn": ("experiment=cam", SEEDS_ONLY, "refine=irn"),
    "box": ("experiment=box", "pipeline.rounds=2"),
    "full_supervision": ("experiment=full_supervision",),
}
Columns = tuple[tuple[str, str, str, str], ...]


def tag_method(run: str, seeds: str = "seeds/train") -> Columns:
    """Columns of a method that learns from tags."""
    return (
        ("score", run, "heat", seeds),
        ("seeds", run, "seeds", seeds),
        ("pseudo mask", run, "mask", "pseudo"),
    )


PICTURES: Mapping[str, Columns] = {
    "pipeline": (
        ("CAM", "cam", "heat", "seeds/train"),
        ("refined (CRF)", "cam", "object", "crf/train"),
        ("pseudo mask", "cam", "mask", "pseudo"),
        ("prediction", "cam", "mask", "predictions/train"),
    ),
    "cam": tag_method("cam"),
    "grad_cam": tag_method("grad_cam"),
    "seam": tag_method("seam"),
    "sc_cam": tag_method("sc_cam", "round_1/seeds/train"),
    "refiners": (
        ("seeds", "cam", "seeds", "seeds/train"),
        ("crf", "cam", "mask", "pseudo"),
        ("affinity", "affinity", "mask", "pseudo"),
        ("irn", "irn", "mask", "pseudo"),
    ),
    "boxes": (
        ("boxes", "box", "mask", "round_0/labels"),
        ("round 1", "box", "mask", "round_1/labels"),
        ("round 2", "box", "mask", "round_2/labels"),
        ("prediction", "box", "mask", "predictions/train"),
    ),
    "segmentation": (
        ("from tags", "cam", "mask", "predictions/train"),
        ("from boxes", "box", "mask", "predictions/train"),
        ("from masks", "full_supervision", "mask", "predictions/train"),
    ),
}


def generated_data(overrides: list[str]) -> Path:
    """Root of the generated data; generates it if it is missing."""
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=cam", *overrides])
    return Path(instantiate(cfg.data.generate))


def run(name: str, runs: Path, overrides: list[str]) -> Path:
    """Run an experiment, or resume it, and return its folder."""
    folder = runs.absolute() / name
    command = [sys.executable, "-m", "wsss_lightning", *RUNS[name], f"output_dir={runs}"]
    subprocess.run([*command, f"hydra.run.dir={folder}", *overrides], check=True, env=os.environ)
    return folder


def miou(mask: UInt8[np.ndarray, "H W"], truth: UInt8[np.ndarray, "H W"]) -> float:
    """mIoU of one image over the labels of its true mask."""
    valid = truth != IGNORE
    return float(
        np.mean(
            [
                ((mask == k) & (truth == k)).sum() / (((mask == k) | (truth == k)) & valid).sum()
                for k in np.unique(truth[valid])
            ]
        )
    )


def draw_step(
    kind: str, run: Path, step: str, name: str, image: UInt8[np.ndarray, "H W 3"]
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw the result of a step for one image."""
    if kind == "mask":
        return mask_overlay(image, load_mask(run / step / f"{name}.png"))
    scores, labels = load_score(run / step / f"{name}.npz")
    if kind == "object":
        return heat_overlay(image, object_probability(scores, labels))
    if kind == "heat":
        return heat_overlay(image, scores.max(0, initial=0))
    background = OmegaConf.load(run / "hydra/config.yaml").seeds.background_score
    levels = np.concatenate([np.full((1, *image.shape[:2]), background, np.float32), scores])
    seeds = np.array([0, *labels], np.uint8)[levels.argmax(0)]
    return mask_overlay(image, seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help=", ".join(PICTURES))
    parser.add_argument("--runs", type=Path, default=Path("runs/pictures"), help="folder of runs")
    parser.add_argument("--override", action="append", default=[], help="an override for every run")
    args = parser.parse_args()
    unknown = set(args.pictures) - set(PICTURES)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(PICTURES)}")
    chosen = args.pictures or list(PICTURES)

    root = generated_data(args.override)
    wanted = {"cam", *(column[1] for name in chosen for column in PICTURES[name])}
    folders = {name: run(name, args.runs, args.override) for name in RUNS if name in wanted}

    def truth(name: str) -> UInt8[np.ndarray, "H W"]:
        return load_mask(root / f"SegmentationClass/{name}.png")

    pseudo = folders["cam"] / "pseudo"
    names = [path.stem for path in sorted(pseudo.glob("*.png"))]
    ranked = sorted(names, key=lambda name: -miou(load_mask(pseudo / f"{name}.png"), truth(name)))
    for picture in chosen:
        rows = []
        for rank in RANKS.get(picture, OTHER_RANKS):
            name = ranked[round(rank * (len(ranked) - 1))]
            with Image.open(root / f"JPEGImages/{name}.jpg") as file:
                image = np.asarray(file.convert("RGB"))
            row = {"image": image}
            for heading, source, kind, step in PICTURES[picture]:
                row[heading] = draw_step(kind, folders[source], step, name, image)
            rows.append({**row, "true mask": mask_overlay(image, truth(name))})
        IMAGES.mkdir(exist_ok=True)
        path = IMAGES / f"{picture}.png"
        save_grid(path, step_grid(rows, TILE, ZOOM, FONT))
        print(f"{path}  {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
