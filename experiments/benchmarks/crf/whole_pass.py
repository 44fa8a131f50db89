"""Compare a complete CRF pass with a loop like that of the official scripts, in images per second.

python experiments/benchmarks/crf/whole_pass.py RUN      # a finished run of experiment=cam...

Both read photos and seeds from disk and write refined maps to disk. The loop is one process that
refines one image after the other with pydensecrf and saves float maps with numpy, as PSA, SEAM and
SC-CAM do. Our step is `steps.crf.crf` with 1 process and with 2.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from wsss_lightning.data.scores import load_score
from wsss_lightning.results.schema import FILE_NAME, read_results
from wsss_lightning.steps.crf import crf
from wsss_lightning.steps.runtime import Runtime


def official_loop(dataset, floats, out, p, background_score):
    from pydensecrf import densecrf, utils

    for i, name in enumerate(dataset.names):
        cam_dict = np.load(floats / f"{name}.npy", allow_pickle=True).item()
        image = np.asarray(dataset.image(i))
        height, width = image.shape[:2]
        cams = np.array(list(cam_dict.values())).reshape(-1, height, width)
        background = np.full((1, height, width), background_score, np.float32)
        full = np.concatenate([background, cams])
        model = densecrf.DenseCRF2D(width, height, len(full))
        model.setUnaryEnergy(np.ascontiguousarray(utils.unary_from_softmax(full)))
        model.addPairwiseGaussian(sxy=p.theta_gamma, compat=p.w2)
        model.addPairwiseBilateral(
            sxy=p.theta_alpha, srgb=p.theta_beta, rgbim=np.copy(image), compat=p.w1
        )
        refined = np.array(model.inference(p.iterations)).reshape(len(full), height, width)
        keys = [0, *cam_dict]
        np.save(out / f"{name}.npy", dict(zip(keys, refined, strict=True)), allow_pickle=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cfg = OmegaConf.load(args.run / "hydra/config.yaml")
    # generated data have no root in the configuration
    cfg.data.dataset = read_results(args.run / FILE_NAME).dataset_node
    split, data = cfg.data.train, cfg.data
    seeds = (args.run / "seeds" / split).resolve()
    dataset = instantiate(data.dataset)(split=split).view(with_masks=False)
    parameters = OmegaConf.merge(cfg.crf, {"engine": "auto"})
    background = cfg.seeds.background_score
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        floats, out = folder / "floats", folder / "official"
        floats.mkdir()
        out.mkdir()
        for name in dataset.names:
            score, keys = load_score(seeds / f"{name}.npz")
            maps = dict(zip(keys.tolist(), score, strict=True))
            np.save(floats / f"{name}.npy", maps, allow_pickle=True)
        table = Table(title=f"CRF of {len(dataset)} images ({data.name}, {split})")
        for heading in ("", "seconds", "images/s", "ratio"):
            table.add_column(heading, justify="right")
        base = None
        for label, workers in (("pydensecrf loop", 0), ("1 process", 1), ("2 processes", 2)):
            start = time.perf_counter()
            if base is None:
                official_loop(dataset, floats, out, parameters, background)
            else:
                out_folder = folder / str(workers)
                out_folder.mkdir()
                crf(
                    out_folder,
                    runtime=Runtime(cfg.trainer, cfg.logger, workers),
                    scores=seeds,
                    data=data,
                    split=split,
                    parameters=parameters,
                    background_power=None,
                    background_score=background,
                )
            seconds = time.perf_counter() - start
            base = base or seconds
            rate = len(dataset) / seconds
            table.add_row(label, f"{seconds:.1f}", f"{rate:.1f}", f"{base / seconds:.1f}x")
        Console().print(table)


if __name__ == "__main__":
    main()
