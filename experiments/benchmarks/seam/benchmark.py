"""Compare our SEAM with the official code: numbers, images per second and memory.

    git clone https://github.com/YudeWang/SEAM OFFICIAL
    python experiments/benchmarks/seam/benchmark.py equal OFFICIAL
    python experiments/benchmarks/seam/benchmark.py speed OFFICIAL --size 224 --batch 2
    python experiments/benchmarks/seam/benchmark.py memory --height 750 --width 1000

The official code is not part of this repository; it is imported from its folder.
"""

import argparse
import importlib
import resource
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lightning.methods.seam.correlation import pixel_correlation
from wsss_lightning.methods.seam.module import SEAM
from wsss_lightning.methods.seam.network import SeamNet
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.normalisation import IMAGENET
from wsss_lightning.nets.weights import read_official
from wsss_lightning.ops.resize import resize

SCALE, CLASSES = 0.3, 20
FROZEN = ["conv1a", "b2", "b2_1", "b2_2"]
SGD = partial(torch.optim.SGD, lr=0.01, momentum=5e-4, weight_decay=5e-4)


def official(folder: Path) -> SimpleNamespace:
    """Network and loss functions of the official code; modules that draw or read are mocked."""
    sys.path.insert(0, str(folder))
    absent = ["cv2", "pydensecrf", "pydensecrf.densecrf", "pydensecrf.utils", "tensorboardX"]
    for name in (*absent, "voc12", "voc12.data", "tool.imutils"):
        sys.modules.setdefault(name, MagicMock())
    train = importlib.import_module("train_SEAM")
    return SimpleNamespace(
        net=importlib.import_module("network.resnet38_SEAM").Net,
        max_norm=importlib.import_module("tool.visualization").max_norm,
        min_pooling=train.adaptive_min_pooling_loss,
        one_hot=train.max_onehot,
        optimizer=importlib.import_module("tool.torchutils").PolyOptimizer,
    )


def their_losses(code: SimpleNamespace, net: nn.Module, image: Tensor, tags: Tensor) -> dict:
    """Loss terms of one step in the order of the official training loop, by its own functions."""
    labels = torch.cat([torch.ones(len(tags), 1), tags], 1)[..., None, None]
    small = F.interpolate(image, scale_factor=SCALE, mode="bilinear", align_corners=True)
    views, terms = [], {"classification": 0.0, "min_pooling": 0.0}
    for picture, factor in ((image, SCALE), (small, None)):
        cam, refined = net(picture)
        logits = F.adaptive_avg_pool2d(cam, (1, 1))[:, 1:]
        terms["classification"] += F.multilabel_soft_margin_loss(logits, labels[:, 1:]) / 2
        terms["min_pooling"] += code.min_pooling((refined * labels)[:, 1:]) / 2
        maps = [code.max_norm(m) for m in (cam, refined)]
        if factor:
            maps = [
                F.interpolate(m, scale_factor=factor, mode="bilinear", align_corners=True)
                for m in maps
            ]
        views.append([m * labels for m in maps])
    (cam1, refined1), (cam2, refined2) = views
    terms["er"] = (cam1[:, 1:] - cam2[:, 1:]).abs().mean()
    for cam in (cam1, cam2):
        cam[:, 0] = 1 - cam[:, 1:].max(dim=1)[0]
    hardest = int((CLASSES + 1) * cam2.shape[-2] * cam2.shape[-1] * 0.2)
    terms["ecr"] = 0.0
    for target, refined in ((cam2, refined1), (cam1, refined2)):
        errors = (code.one_hot(target.detach()) - refined).abs().flatten(1)
        terms["ecr"] += errors.topk(hardest, dim=-1)[0].mean()
    return terms


def pair(code: SimpleNamespace) -> tuple[nn.Module, SEAM]:
    """The official network and ours with the same weights, scaled so that maps stay finite."""
    torch.manual_seed(0)
    theirs = code.net()
    generator = torch.Generator().manual_seed(1)
    for part in theirs.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1, generator=generator)
            part.running_var.uniform_(0.5, 2.0, generator=generator)
    theirs.train()
    chosen = Backbone("resnet38", 8, False, None, True, FROZEN, {})
    net = partial(SeamNet, chosen, 0.5, [-3, -2], [64, 128], 192, 256, None)
    ours = SEAM(net, CLASSES, SGD, 10, 0.9, SCALE, 1.0, 1.0, 1.0, 0.2)
    converted = read_official(theirs.state_dict(), Path("official"))
    ours.net.load_state_dict(converted.state)
    return theirs, ours


def without_dropout(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Dropout2d):
            part.eval()


def batch_of(size: tuple[int, int], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images in [0, 1], the same normalised, and tags: 1.5 per image, as on VOC."""
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(count, 3, size[0] // 8, size[1] // 8, generator=generator)
    image = F.interpolate(image, size=size, mode="bicubic").clamp(0, 1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in IMAGENET)
    tags = torch.zeros(count, CLASSES)
    for i in range(count):
        tags[i, [7 * i % 20, 14 if i % 2 else 7 * i % 20]] = 1
    return image, (image - mean) / std, tags


def our_losses(ours: SEAM, image: Tensor, tags: Tensor) -> dict[str, Tensor]:
    small = resize(image, SCALE)
    sizes = (tuple(image.shape[-2:]), tuple(small.shape[-2:]))
    return ours.losses(ours.net(image), ours.net(small), *sizes, tags)


def largest(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))


def equal(code: SimpleNamespace) -> None:
    """Compare outputs at three sizes, then losses and gradients of one step."""
    theirs, ours = pair(code)
    theirs.eval(), ours.net.eval()
    print("size      largest difference of cam, refined; relative to the largest value")
    for size in ((75, 100), (97, 97), (134, 121)):
        image, normalised, _ = batch_of((size[0], size[1]), 2)
        with torch.no_grad():
            wanted = theirs(normalised)
            maps = [
                F.interpolate(m, size, mode="bilinear", align_corners=True) for m in ours.net(image)
            ]
        print(
            f"{size[0]}x{size[1]:<6}",
            *(f"{largest(a, b):.1e}" for a, b in zip(maps, wanted, strict=True)),
        )
    for kind in (torch.float32, torch.float64):
        one_step(code, theirs.to(kind), ours.to(kind), kind)


def one_step(code: SimpleNamespace, theirs: nn.Module, ours: SEAM, kind: torch.dtype) -> None:
    """Compare losses and gradients of the same step.

    In single precision the sign of ER's |a - b| depends on rounding where a is nearly b.
    """
    for module in (theirs, ours):
        module.train()
        module.zero_grad()
        without_dropout(module)
    image, normalised, tags = (t.to(kind) for t in batch_of((129, 129), 2))
    terms = their_losses(code, theirs, normalised, tags)
    sum(terms.values()).backward()
    found = our_losses(ours, image, tags)
    torch.stack(list(found.values())).sum().backward()
    print(f"\n{kind}\nterm              official          ours")
    for name, value in terms.items():
        print(f"{name:16} {value.item():.9f}   {found[name].item():.9f}")
    state = theirs.state_dict(keep_vars=True)
    gradients = {k: torch.zeros_like(p) if p.grad is None else p.grad for k, p in state.items()}
    wanted = read_official(gradients, Path("gradients")).state
    mine = {k: p.grad for k, p in ours.net.named_parameters() if p.grad is not None}
    reached = {k for k, v in wanted.items() if v.abs().sum() > 0}
    print(f"gradients reach {len(reached)} tensors in both codes: {reached == set(mine)}")
    worst = max((largest(mine[k], wanted[k]), k) for k in reached)
    total = [torch.cat([v[k].flatten() for k in sorted(reached)]) for v in (mine, wanted)]
    print(f"largest difference {worst[0]:.1e} of a tensor's largest entry, in {worst[1]};")
    print(f"of all gradients {((total[0] - total[1]).norm() / total[1].norm()).item():.1e} (L2)")


def speed(code: SimpleNamespace, size: int, count: int, rounds: int) -> None:
    """Time complete steps (two views, losses, backward, SGD) in turn, with dropout."""
    theirs, ours = pair(code)
    ours.train()
    image, normalised, tags = batch_of((size, size), count)
    groups = theirs.get_parameter_groups()
    first = code.optimizer(
        [
            {"params": groups[0], "lr": 0.01, "weight_decay": 5e-4},
            {"params": groups[2], "lr": 0.1, "weight_decay": 5e-4},
        ],
        lr=0.01,
        weight_decay=5e-4,
        max_step=1000,
    )
    second = SGD([p for p in ours.net.parameters() if p.requires_grad])

    def step(kind: str) -> tuple[float, float]:
        begin = time.perf_counter(), time.process_time()
        optimizer: Any = first if kind == "official" else second
        optimizer.zero_grad()
        if kind == "official":
            loss = sum(their_losses(code, theirs, normalised, tags).values())
        else:
            loss = torch.stack(list(our_losses(ours, image, tags).values())).sum()
        loss.backward()
        optimizer.step()
        return time.perf_counter() - begin[0], time.process_time() - begin[1]

    spent: dict[str, list[tuple[float, float]]] = {"official": [], "ours": []}
    for kind in spent:
        step(kind)
    for _ in range(rounds):
        for kind, times in spent.items():
            times.append(step(kind))
    print(f"{count} images of {size}x{size}, {torch.get_num_threads()} threads, {rounds} rounds")
    # other work on the machine affects wall-clock time much more than processor time
    for i, unit in enumerate(("wall clock", "processor")):
        middle = {k: statistics.median(t[i] for t in times) for k, times in spent.items()}
        best = {k: min(t[i] for t in times) for k, times in spent.items()}
        for kind in spent:
            print(
                f"{kind:9} {middle[kind]:6.2f} s per step (best {best[kind]:.2f}), {unit}, "
                f"{count / middle[kind]:.3f} images/s"
            )
        print(
            f"ratio     {middle['official'] / middle['ours']:.2f} (best to best "
            f"{best['official'] / best['ours']:.2f})"
        )


def memory(height: int, width: int, what: str, block_mib: float) -> None:
    """Print the peak resident memory of this process for one image of the given size."""
    chosen = Backbone("resnet38", 8, False, None, True, FROZEN, {})
    before = peak()
    begin = time.perf_counter()
    if what == "pcm":
        h, w = -(-height // 8), -(-width // 8)
        maps = torch.rand(1, CLASSES + 1, h, w)
        features = torch.rand(1, 192, h, w, requires_grad=True)
        pixel_correlation(maps, features, block_mib).square().sum().backward()
    else:
        net = SeamNet(chosen, 0.5, [-3, -2], [64, 128], 192, block_mib, None, CLASSES)
        image = torch.rand(1, 3, height, width)
        if what == "forward":
            with torch.no_grad():
                net.eval()(image)
        else:
            ours = SEAM(lambda num_classes: net, CLASSES, SGD, 10, 0.9, SCALE, 1, 1, 1, 0.2)
            tags = torch.eye(CLASSES)[:1]
            torch.stack(list(our_losses(ours, image, tags).values())).sum().backward()
    seconds = time.perf_counter() - begin
    print(f"{what} {width}x{height}: peak {peak():.2f} GiB, {before:.2f} before, {seconds:.0f} s")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["equal", "speed", "memory"])
    parser.add_argument("official", type=Path, nargs="?", help="folder of the official code")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--height", type=int, default=750)
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--of", choices=["forward", "train", "pcm"], default="forward")
    parser.add_argument("--block-mib", type=float, default=256)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.what == "memory":
        return memory(args.height, args.width, args.of, args.block_mib)
    code = official(args.official)
    if args.what == "equal":
        return equal(code)
    return speed(code, args.size, args.batch, args.rounds)


if __name__ == "__main__":
    main()
