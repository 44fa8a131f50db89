"""Print mIoU of seeds, of the CRF, and of the CRF with the area check, on both splits of a run.

python experiments/benchmarks/crf/area_check.py RUN --thresholds 0.3 0.45 --theta-alpha 80 50
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from benchmark import PRESETS
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import track
from rich.table import Table

from wsss_lightning.data.scores import load_score
from wsss_lightning.densecrf.api import mean_field
from wsss_lightning.densecrf.refinement_damage import refinement_damage
from wsss_lightning.densecrf.unary import unary_from_scores
from wsss_lightning.evaluation.metrics import Confusion, miou
from wsss_lightning.ops.cam import with_constant_background
from wsss_lightning.results.schema import FILE_NAME, read_results


def evaluate(dataset, seeds, threshold, parameters, factors):
    """mIoU by name, and for each factor the share of images that keep their seeds."""
    checks = {f"factor {factor:g}": factor for factor in factors}
    matrices = {n: Confusion(dataset.num_classes + 1) for n in ("seeds", "CRF", *checks)}
    kept = dict.fromkeys(checks, 0)
    for i in track(range(len(dataset)), transient=True):
        score, keys = load_score(seeds / f"{dataset.names[i]}.npz")
        maps = torch.from_numpy(score if len(score) else np.zeros((0, *dataset.image_size(i))))
        full = with_constant_background(maps.float(), threshold)
        image = torch.from_numpy(np.array(dataset.image(i)))
        before = full.argmax(0)
        after = mean_field(image, unary_from_scores(full), parameters).argmax(0)
        labels, truth = torch.tensor([0, *keys]), torch.from_numpy(dataset.mask(i).astype(np.int64))
        matrices["seeds"].update(labels[before], truth)
        matrices["CRF"].update(labels[after], truth)
        for name, factor in checks.items():
            harmed = refinement_damage(before, after, factor) is not None
            kept[name] += harmed
            matrices[name].update(labels[before if harmed else after], truth)
    shares = {name: count / len(dataset) for name, count in kept.items()}
    return {name: miou(m.compute()) for name, m in matrices.items()}, shares


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--thresholds", nargs="+", type=float, default=[0.3])
    parser.add_argument("--theta-alpha", nargs="+", type=float, default=[80.0])
    parser.add_argument("--factors", nargs="+", type=float, default=[3.0, 5.0, 10.0])
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = read_results(args.run / FILE_NAME)
    open_split = instantiate(OmegaConf.create(results.dataset_node))
    table = Table(title=f"{results.data}, mIoU in percent (images that keep their seeds)")
    checks = [f"factor {factor:g}" for factor in args.factors]
    for heading in ("split", "threshold", "theta_alpha", "seeds", "CRF", *checks):
        table.add_column(heading, justify="right")
    splits = results.protocol.splits
    for split in filter(None, (splits.train, splits.val)):
        dataset = open_split(split=split)
        for threshold in args.thresholds:
            for theta_alpha in args.theta_alpha:
                parameters = replace(PRESETS["psa"], theta_alpha=theta_alpha)
                seeds = args.run / "seeds" / split
                scores, kept = evaluate(dataset, seeds, threshold, parameters, args.factors)
                cells = [f"{100 * scores[name]:.1f}" for name in ("seeds", "CRF")]
                cells += [f"{100 * scores[c]:.1f} ({100 * kept[c]:.0f} %)" for c in checks]
                table.add_row(split, f"{threshold:g}", f"{theta_alpha:g}", *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
