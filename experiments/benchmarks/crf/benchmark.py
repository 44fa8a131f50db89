"""Compare speed, memory and results of the CRF engines in one run.

python experiments/benchmarks/crf/benchmark.py                      # generated images
python experiments/benchmarks/crf/benchmark.py --images DIR         # photos, resized to each size
python experiments/benchmarks/crf/benchmark.py --run RUN            # photos and seeds of a run

The engines alternate on the same image, `--repeats` times; times are medians, and ratios compare
with pydensecrf called directly, in this process, on one core. If there is a CUDA device, the torch
engine is also timed there, a batch at a time.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.table import Table

from wsss_lightning.data.scores import load_score
from wsss_lightning.densecrf.api import mean_field, mean_field_batch
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.densecrf.pydensecrf_worker import infer
from wsss_lightning.densecrf.unary import unary_from_scores
from wsss_lightning.ops.cam import with_constant_background

PRESETS = {
    "psa": CRFParameters(80, 13, 3, 10, 3, 10),
    "irn": CRFParameters(50, 5, 3, 10, 3, 10),
    "deeplab_v1": CRFParameters(121, 5, 3, 4, 3, 10),
    "deeplab_v2": CRFParameters(67, 3, 1, 4, 3, 10),
    "sdi": CRFParameters(80, 13, 3, 10, 3, 5),
}
GPU_BATCH = 8
console = Console(width=110)


def scene(height, width, seed):
    """A generated image of coloured patches with soft edges and noise."""
    random = np.random.RandomState(seed)
    coarse = torch.from_numpy(random.rand(1, 3, 7, 9)).float()
    smooth = F.interpolate(coarse, (height, width), mode="bicubic")[0]
    patches = F.interpolate(torch.from_numpy(random.rand(1, 3, 5, 6)).float(), (height, width))[0]
    noise = torch.from_numpy(random.randn(3, height, width)).float() * 0.03
    picture = (0.5 * smooth + 0.5 * patches + noise).clamp(0, 1) * 255
    return picture.round().byte().permute(1, 2, 0).contiguous()


def scores(height, width, labels, seed):
    """Score maps as coarse as CAMs; each label is the strongest at some pixel."""
    random = np.random.RandomState(seed)
    coarse = torch.from_numpy(random.rand(1, labels, 12, 16)).float()
    score = F.interpolate(coarse, (height, width), mode="bilinear")[0] ** 3
    score[0] = 0.3
    return score


def problems(args, size, labels):
    """Images and unaries of one size."""
    width, height = size
    if args.images:
        paths = sorted(p for p in args.images.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
        paths = paths[:: max(1, len(paths) // args.pictures)][: args.pictures]
        pictures = [
            torch.from_numpy(np.array(Image.open(p).convert("RGB").resize(size))) for p in paths
        ]
    else:
        pictures = [scene(height, width, seed) for seed in range(args.pictures)]
    return [
        (picture, unary_from_scores(scores(height, width, labels, seed)))
        for seed, picture in enumerate(pictures)
    ]


def of_run(folder, count, side=None):
    """Photos of a finished run with the unaries of its seeds, as its CRF step computes them.

    Args:
        side: longer side to which both are resized, in pixels; None keeps their size.
    """
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    cfg = OmegaConf.load(folder / "hydra/config.yaml")
    dataset = instantiate(cfg.data.dataset)(split=cfg.data.train).view(with_masks=False)
    for i in range(0, len(dataset), max(1, len(dataset) // count)):
        score, _ = load_score(folder / "seeds" / cfg.data.train / f"{dataset.names[i]}.npz")
        image, maps = dataset.image(i), torch.from_numpy(score)
        if side is not None:
            width, height = (round(s * side / max(image.size)) for s in image.size)
            image = image.resize((width, height))
            maps = F.interpolate(maps[None], (height, width), mode="bilinear", antialias=True)[0]
        full = with_constant_background(maps, cfg.seeds.background_score)
        yield torch.from_numpy(np.array(image)), unary_from_scores(full)


def against_exact_kernels(work, p):
    """Agreement of engines with `exact`: share of equal labels, mean difference of marginals."""
    found = {name: [] for name in ("pydensecrf", "native", "torch")}
    for picture, unary in work:
        truth = mean_field(picture, unary, p, "exact")
        for name, own in found.items():
            marginal = engine(name)(picture, unary, p)
            same = (marginal.argmax(0) == truth.argmax(0)).float().mean()
            own.append((float(same), float((marginal - truth).abs().mean())))
    return {
        name: tuple(map(statistics.mean, zip(*own, strict=True))) for name, own in found.items()
    }


def reference(picture, unary, p):
    """pydensecrf in this process, as the official scripts call it."""
    marginal = infer(
        picture.numpy(),
        unary.numpy(),
        {"sxy": p.theta_gamma, "compat": p.w2},
        {"sxy": p.theta_alpha, "srgb": p.theta_beta, "compat": p.w1},
        p.iterations,
    )
    return torch.from_numpy(marginal)


def engine(name):
    if name == "pydensecrf":
        return reference
    return lambda picture, unary, p: mean_field(picture, unary, p, name)


def compare(work, engines, p, repeats):
    """Seconds of each engine, its ratios to the reference by image, and agreement with it."""
    found = {name: {"seconds": [], "ratio": [], "argmax": [], "error": []} for name in engines}
    for picture, unary in work:
        for name in engines:
            engine(name)(picture, unary, p)  # compile and warm up
        times = {name: [] for name in engines}
        for _ in range(repeats):
            for name in engines:
                start = time.perf_counter()
                marginal = engine(name)(picture, unary, p)
                times[name].append(time.perf_counter() - start)
                if name == engines[0]:
                    truth = marginal
        for name in engines:
            marginal = engine(name)(picture, unary, p)
            own = found[name]
            own["seconds"] += times[name]
            own["ratio"].append(
                statistics.median(times[engines[0]]) / statistics.median(times[name])
            )
            own["argmax"].append(float((marginal.argmax(0) == truth.argmax(0)).float().mean()))
            own["error"].append(float((marginal - truth).abs().max()))
    return found


def _resident(which):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which))


def _peak(name, picture, unary, p, answer):
    torch.set_num_threads(1)
    picture, unary = torch.from_numpy(picture), torch.from_numpy(unary)
    engine(name)(picture[:8, :8].contiguous(), unary[:, :8, :8].contiguous(), p)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
        before = _resident("VmRSS")
        engine(name)(picture, unary, p)
        answer.put((_resident("VmHWM") - before) / 1024)
    except OSError:
        answer.put(float("nan"))


def peak_mebibytes(name, picture, unary, p):
    """Peak memory that one call adds to a new process; nan if the system does not report it."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    arrays = (picture.numpy(), unary.numpy())
    process = context.Process(target=_peak, args=(name, *arrays, p, answer))
    process.start()
    added = answer.get()
    process.join()
    return added


def _loop(work, p, count, begin, done):
    torch.set_num_threads(1)
    work = [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in work]
    mean_field(*work[0], p, "native")
    begin.wait()
    start = time.perf_counter()
    for i in range(count):
        mean_field(*work[i % len(work)], p, "native")
    done.put(time.perf_counter() - start)


def scaling(work, p, processes=2, count=40):
    """Speed-up of several processes over one, and the images per second of both."""
    plain = [(a.numpy(), b.numpy()) for a, b in work]
    context = multiprocessing.get_context("spawn")
    rates = []
    for n in (1, processes):
        begin, done = context.Barrier(n), context.Queue()
        started = [
            context.Process(target=_loop, args=(plain, p, count, begin, done)) for _ in range(n)
        ]
        for process in started:
            process.start()
        rates.append(sum(count / done.get() for _ in started))
        for process in started:
            process.join()
    return rates[1] / rates[0], rates


def gpu(work, p, repeats):
    """Seconds per image on the CUDA device, in batches, without the transfer of the result."""
    images = [picture.cuda() for picture, _ in work][:GPU_BATCH]
    unaries = [unary.cuda() for _, unary in work][:GPU_BATCH]
    images, unaries = (x * -(-GPU_BATCH // len(x)) for x in (images, unaries))
    times = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        mean_field_batch(images, unaries, p, "torch")
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / len(images))
    return statistics.median(times[1:])


def bandwidth():
    """Bytes per second that one core reads and writes when copying more than any cache holds."""
    source, target = np.ones(2**25), np.zeros(2**25)
    target[:] = 1  # allocates its pages
    times = []
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of photos")
    parser.add_argument("--run", type=Path, help="folder of a run whose photos and seeds to use")
    parser.add_argument("--pictures", type=int, default=3, help="images of each size")
    parser.add_argument("--sizes", nargs="+", default=["256x192", "500x375", "1024x768"])
    parser.add_argument("--labels", nargs="+", type=int, default=[2, 3, 5, 21])
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=["psa"])
    parser.add_argument("--engines", nargs="+", default=["pydensecrf", "native", "torch"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--no-scaling", action="store_true", help="do not time two processes")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.engines = ["pydensecrf", *(name for name in args.engines if name != "pydensecrf")]
    rows = []
    table = Table(title=f"DenseCRF, one core, {args.pictures} images x {args.repeats} repeats")
    for heading in ("preset", "size", "labels", "engine", "ms", "speed", "worst", "argmax", "dQ"):
        table.add_column(heading, justify="right")
    table.add_column("MiB", justify="right")
    for preset in args.presets:
        p = PRESETS[preset]
        if args.run:
            cases = [("original", "given", list(of_run(args.run, args.pictures)))]
        else:
            cases = []
            for text in args.sizes:
                size = tuple(map(int, text.split("x")))
                cases += [(text, n, problems(args, size, n)) for n in args.labels]
        for size, labels, work in cases:
            for name, own in compare(work, args.engines, p, args.repeats).items():
                peak = None if args.no_memory else peak_mebibytes(name, *work[0], p)
                row = {
                    "preset": preset,
                    "size": size,
                    "labels": labels,
                    "engine": name,
                    "ms": 1e3 * statistics.median(own["seconds"]),
                    "ratio": statistics.median(own["ratio"]),
                    "ratio_worst": min(own["ratio"]),
                    "argmax_worst": min(own["argmax"]),
                    "max_error": max(own["error"]),
                    "peak_mib": peak,
                }
                rows.append(row)
                table.add_row(
                    preset,
                    size,
                    str(labels),
                    name,
                    f"{row['ms']:.0f}",
                    f"{row['ratio']:.2f}x",
                    f"{row['ratio_worst']:.2f}x",
                    f"{100 * row['argmax_worst']:.3f} %",
                    f"{row['max_error']:.0e}",
                    "" if peak is None else f"{peak:.0f}",
                )
            if torch.cuda.is_available():
                seconds = gpu(work, p, args.repeats)
                base = next(r for r in rows[::-1] if r["engine"] == "pydensecrf")["ms"]
                ratio = base / 1e3 / seconds
                rows.append({**row, "engine": "torch on GPU", "ms": 1e3 * seconds, "ratio": ratio})
                table.add_row(
                    preset,
                    size,
                    str(labels),
                    "torch on GPU",
                    f"{1e3 * seconds:.1f}",
                    f"{ratio:.0f}x",
                )
            table.add_section()
    console.print(table)
    found = {"rows": rows, "copy_gigabytes_per_second": bandwidth() / 1e9}
    console.print(f"one core copies {found['copy_gigabytes_per_second']:.1f} GB/s")
    if args.run:
        for side in (48, 64, 96):
            work = list(of_run(args.run, args.pictures, side))
            close = against_exact_kernels(work, PRESETS[args.presets[0]])
            found[f"against_exact_at_{side}"] = close
            for name, (same, error) in close.items():
                agreement = f"argmax {100 * same:.2f} %, mean dQ {error:.4f}"
                console.print(f"{name} against exact kernels at {side} px: {agreement}")
    elif not args.no_scaling:
        gain, rates = scaling(problems(args, (500, 375), 3), PRESETS[args.presets[0]])
        found["two_processes"] = {"gain": gain, "images_per_second": rates}
        console.print(f"two processes: {gain:.2f} times one ({rates[0]:.1f} -> {rates[1]:.1f}/s)")
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
