"""Which part of a geometry changes the seeds: python causes.py RUN [--split val]

RUN is a finished run of a method that learns from tags. The maps of its classifier are computed
once for each rule of view sizes and then placed on the image in several ways. The script prints
mIoU at the best threshold and at fixed ones, and the difference to aligned maps with its 95 %
interval over images (paired bootstrap; each resample has its own best threshold).

    aligned, psa, irn   the values of cam.alignment
    half-pixel          the views of aligned, enlarged with half-pixel centres as in psa
    true                the views of psa, each cell placed at its centre
    down, up            aligned maps moved by 8 pixels of the view at scale 1
    smooth              aligned maps smoothed by a Gaussian of 8 such pixels
    contracted f        aligned maps contracted towards the centre of the image by a factor f
    own f               the same, towards the centre of mass of each map

--receptive-fields N prints, for N images, the offset of each cell's effective receptive field: the
mean position along a row and a column of the absolute gradient of the cell with respect to the
image, minus the position of the cell.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from wsss_lightning.ops.alignment import place, view_of
from wsss_lightning.ops.cam import normalise_jointly
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.report.verdict import dataset_miou, draw_weights
from wsss_lightning.steps.train import load

STEPS = 100  # thresholds are 0, 1 / STEPS, ..., 1
EDGES = torch.arange(STEPS + 1) / STEPS
FIXED = (0.15, 0.2, 0.3)
PIXELS = 8.0
Size = tuple[int, int]


def moved(maps: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Maps (n H W) read at other rows and columns; pixels of the border are repeated beyond it."""
    height, width = maps.shape[-2:]
    y, x = (2 * at / (side - 1) - 1 for at, side in ((down, height), (across, width)))
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]
    return F.grid_sample(maps[None], grid, padding_mode="border", align_corners=True)[0]


def contracted(maps: Tensor, factor: float, centre: tuple[float, float] | None = None) -> Tensor:
    height, width = maps.shape[-2:]
    middle = ((height - 1) / 2, (width - 1) / 2) if centre is None else centre
    y, x = (
        (torch.arange(float(side)) - c) / factor + c
        for side, c in zip((height, width), middle, strict=True)
    )
    return moved(maps, y, x)


def centre_of_mass(one: Tensor) -> tuple[float, float]:
    total = one.sum().clamp(min=1e-9)
    y, x = (torch.arange(float(side)) for side in one.shape)
    return float((one.sum(1) * y).sum() / total), float((one.sum(0) * x).sum() / total)


def smoothed(maps: Tensor, sigma: float) -> Tensor:
    reach = int(3 * sigma)
    weight = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    weight = weight / weight.sum()
    wide = F.pad(maps[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(wide, weight.view(1, 1, 1, -1)), weight.view(1, 1, -1, 1))[:, 0]


@torch.inference_mode()
def placements(module: Any, settings: Any, image: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Maps (n H W) of the present classes, normalised by their maximum, for each placement."""
    size: Size = (image.shape[-2], image.shape[-1])
    stride = module.net.backbone.output_stride
    base = 1.0 if settings.long_side is None else settings.long_side / max(size)
    total: dict[str, Any] = defaultdict(float)
    for scale in settings.scales:
        for sized in ("aligned", "psa"):
            view = view_of(image, scale * base, sized, stride)
            shape: Size = (view.shape[-2], view.shape[-1])
            # one at a time: twice as fast on a CPU, because a single view fits into its cache
            maps = torch.cat([module.cam(v)[:, classes].relu() for v in (view, view.flip(-1))])
            if sized == "aligned":
                total["aligned"] += place(maps, shape, size, "aligned", stride, True)["score"][0]
                total["half-pixel"] += place(maps, shape, size, "psa", stride, True)["score"][0]
                continue
            for alignment in ("psa", "irn"):
                total[alignment] += place(maps, shape, size, alignment, stride, True)["score"][0]
            y, x = (
                ((torch.arange(float(side)) + 0.5) * pixels / side - 0.5) / stride
                for side, pixels in zip(size, shape, strict=True)
            )
            total["true"] += moved(maps[0], y, x) + moved(maps[1], y, x).flip(-1)
    maps, shift = total["aligned"], round(PIXELS / base)
    y, x = (torch.arange(float(side)) for side in size)
    total["down"], total["up"] = moved(maps, y - shift, x), moved(maps, y + shift, x)
    total["smooth"] = smoothed(maps, PIXELS / base)
    for factor in (0.8, 0.9, 0.95, 1.05):
        total[f"contracted {factor}"] = contracted(maps, factor)
    total["own 0.9"] = torch.cat([contracted(one[None], 0.9, centre_of_mass(one)) for one in maps])
    return {name: normalise_jointly(one[:, None])[:, 0] for name, one in total.items()}


def counted(scores: Tensor, labels: Tensor, truth: Tensor, k: int) -> Tensor:
    """Pixel counts by true label, strongest class and number of thresholds below its score."""
    score, strongest = scores.max(0)
    cells = (truth * k + labels[strongest]) * (STEPS + 2) + torch.bucketize(score, EDGES)
    return torch.bincount(cells[truth != IGNORE], minlength=k * k * (STEPS + 2)).int()


def curves(counts: np.ndarray, k: int) -> np.ndarray:
    """mIoU (r, thresholds) of r sums of pixel counts over images."""
    cells = counts.reshape(-1, k, k, STEPS + 2)
    points = []
    for t in range(STEPS + 1):
        matrix = cells[..., t + 1 :].sum(-1)
        matrix[..., 0] += cells[..., : t + 1].sum((-2, -1))
        points.append(dataset_miou(matrix.astype(np.float64)))
    return np.stack(points, 1)


def compared(counts: dict[str, list[Tensor]], k: int, resamples: int) -> None:
    """Print one row for each placement."""
    weights = draw_weights(len(counts["aligned"]), resamples)
    best: dict[str, np.ndarray] = {}  # of the resamples, then of all images
    for name, images in counts.items():
        stacked = torch.stack(images).double()
        (curve,) = curves(stacked.sum(0)[None].numpy(), k)
        drawn = (torch.from_numpy(weights) @ stacked).numpy()
        best[name] = np.append(curves(drawn, k).max(1), curve.max())
        *resampled, difference = 100 * (best[name] - best["aligned"])
        low, high = np.percentile(resampled, [2.5, 97.5])
        fixed = " ".join(f"{100 * curve[round(t * STEPS)]:6.2f}" for t in FIXED)
        print(
            f"{name:16} {100 * curve.max():6.2f} at {curve.argmax() / STEPS:.2f} | {fixed} | "
            f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"
        )


def print_receptive_fields(module: Any, settings: Any, images: list[tuple[Tensor, int]]) -> None:
    """Print the offset of the effective receptive field of each cell."""
    stride, offsets = module.net.backbone.output_stride, defaultdict(list)
    for image, c in images:
        base = 1.0 if settings.long_side is None else settings.long_side / max(image.shape[-2:])
        view = view_of(image, base, "aligned", stride).requires_grad_()
        cam = module.cam(view)[0, c]
        for axis, name in ((0, "row"), (1, "column")):
            line = cam[:, cam.shape[1] // 2] if axis == 0 else cam[cam.shape[0] // 2]
            for j, cell in enumerate(line):
                (slope,) = torch.autograd.grad(cell, view, retain_graph=True)
                share = slope[0].abs().sum((0, 2 - axis))
                centre = (share * torch.arange(float(len(share)))).sum() / share.sum()
                offsets[name, len(line), j].append(float(centre) - stride * j)
    for (name, count, j), off in sorted(offsets.items()):
        print(f"{name:6} {j:3} of {count:3}: {np.mean(off):+6.1f} pixels, {len(off)} images")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--receptive-fields", type=int, metavar="N")
    parser.add_argument("--resamples", type=int, default=500)
    args = parser.parse_args()
    cfg: Any = OmegaConf.load(args.run / "hydra" / "config.yaml")
    if "generate" in cfg.data:
        cfg.data.dataset.root = cfg.data.root = str(instantiate(cfg.data.generate))
    module: Any = load(args.run / "classifier")
    dataset = instantiate(cfg.data.dataset)(split=args.split)
    k = dataset.num_classes + 1
    tagged = [i for i in range(len(dataset)) if dataset.tags[i].any()]
    if args.receptive_fields:
        chosen = [
            tagged[i] for i in np.linspace(0, len(tagged) - 1, args.receptive_fields).astype(int)
        ]
        images = [(dataset[i]["image"][None], int(dataset.tags[i].argmax())) for i in chosen]
        return print_receptive_fields(module, cfg.cam, images)
    counts: dict[str, list[Tensor]] = defaultdict(list)
    background = []  # counts of images without tags, which are background in every placement
    for i in range(len(dataset)):
        truth = torch.from_numpy(dataset.mask(i)).long()
        classes = dataset.tags[i].nonzero().flatten()
        if len(classes) == 0:
            background.append(counted(torch.zeros(1, *truth.shape), torch.ones(1).long(), truth, k))
            continue
        scores = placements(module, cfg.cam, dataset[i]["image"][None], classes)
        for name, maps in scores.items():
            counts[name].append(counted(maps, classes + 1, truth, k))
    print(f"{'':16}   best threshold | at {', '.join(map(str, FIXED))} | best, minus aligned's")
    compared({name: images + background for name, images in counts.items()}, k, args.resamples)


if __name__ == "__main__":
    main()
