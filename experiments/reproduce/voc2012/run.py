"""Check data, weights, GPUs and disk, then run the published recipes on VOC 2012.

    python experiments/reproduce/voc2012/run.py VOC2012 --resnet38 FILE --seeds 0 1 2 --gpus 0 1 2 3

The checks cover everything that could stop a run hours later; `--check` stops after them. Repeating
the command resumes an interrupted sweep. Arguments after `--` are passed to wsss_lightning
unchanged; if they change a setting, check.py reports that settings differ.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from check import IMAGES
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from wsss_lightning.cli.error_messages import fail
from wsss_lightning.cli.options import quoted
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.nets.weights import is_official, read_official, read_weights
from wsss_lightning.steps.datasets import datasets_of

KIT = Path(__file__).parent.absolute()
RESNET38 = "WSSS_RESNET38"  # environment variable that the recipes read
console = Console()


def composed(sweep: str, *words: str) -> DictConfig:
    """Configuration of one job of the sweep, with Hydra's own part."""
    own = [f"hydra.searchpath=[file://{conf_folder()}]", "hydra.mode=RUN"]
    with initialize_config_dir(str(KIT), version_base="1.3"):
        return compose(sweep, overrides=[*own, *words], return_hydra_config=True)


def experiments_of(sweep: str) -> list[str]:
    """Experiments of a sweep, in its order."""
    listed = composed(sweep, "data.root=unused").hydra.sweeper.params.experiment
    return [name.strip() for name in listed.split(",")]


def check_resnet38(path: Path) -> None:
    """Reject a file that is not a ResNet38 trained for ImageNet classification.

    Raises:
        InputError: it cannot be read, or holds another network.
    """
    state = read_weights(path)
    network = read_official(state, path).network if is_official(state) else "another network"
    if network != "ImageNet":
        raise InputError(
            f"--resnet38 is {path}, which holds {network}; the recipes need weights of ImageNet "
            f"classification. {HOW_TO_GET}"
        )


HOW_TO_GET = (
    "No hub has them: the READMEs of SEAM (YudeWang/SEAM) and SC-CAM (Juliachang/SC-CAM) link "
    "ilsvrc-cls_rna-a1_cls1000_ep-0001.params, an MXNet file. Convert it where MXNet is "
    "installed, with convert_mxnet_to_torch in SEAM's network/resnet38d.py, and save the returned "
    "dictionary with torch.save; visinf/1-stage-wseg links a converted .pth. Then pass the file "
    f"with --resnet38 FILE, or set {RESNET38}=FILE."
)


def without_weights(configurations: Mapping[str, DictConfig]) -> list[str]:
    """Experiments whose weight file does not exist."""
    keys = ("backbone.weights", "segmenter.net.backbone.weights", "method.net.weights")
    return [
        name
        for name, cfg in configurations.items()
        if any((file := OmegaConf.select(cfg, key)) and not Path(file).is_file() for key in keys)
    ]


def check_data(cfg: DictConfig, incomplete: bool) -> None:
    """Read all lists, and compare the val masks of both folders.

    Args:
        incomplete: report missing data without raising an error.

    Raises:
        InputError: the data cannot be read, or are not complete VOC 2012 and SBD.
    """
    problems = []
    for split, count in IMAGES.items():
        images = len(datasets_of(cfg.data)(split, with_masks=False))
        if images != count:
            problems.append(f"{split} lists {images} images, VOC 2012 has {count}")
    ours, plain = cfg.data, cfg.data.copy()
    plain.dataset.mask_dir = "SegmentationClass"
    own, other = datasets_of(ours)("val"), datasets_of(plain)("val")
    for read in (own, other):
        for i in range(len(read)):
            read.check_mask_exists(i)
    changed = sum(not np.array_equal(own.mask(i), other.mask(i)) for i in range(len(own)))
    if changed:
        problems.append(
            f"{changed} masks of val in {ours.dataset.mask_dir} differ from those of "
            f"SegmentationClass, which papers use for scores; copy these to {ours.dataset.mask_dir}"
        )
    for problem in problems:
        report("data", problem, "yellow")
    if problems and not incomplete:
        raise InputError(
            "the data are not complete VOC 2012 with SBD's masks, so published scores cannot be "
            "reproduced; complete them as README.md describes, or try the kit with --incomplete."
        )
    if not problems:
        counts = ", ".join(f"{split} {count}" for split, count in IMAGES.items())
        report("data", f"{counts} images, masks of val equal in both folders")


def gpus_of(numbers: Sequence[int] | None) -> list[int]:
    """The given GPUs, or all if none are given.

    Raises:
        InputError: a GPU does not exist.
    """
    count = torch.cuda.device_count()
    chosen = list(range(count)) if numbers is None else list(dict.fromkeys(numbers))
    absent = [number for number in chosen if not 0 <= number < count]
    if absent:
        raise InputError(
            f"--gpus names {absent}, but this machine has {count} GPUs, numbered from 0."
        )
    return chosen


def command(arguments: argparse.Namespace, names: Sequence[str], gpus: Sequence[int]) -> list[str]:
    """The command that starts the sweep."""
    seeds = ",".join(map(str, dict.fromkeys(arguments.seeds)))
    words = [sys.executable, "-m", "wsss_lightning", "-cd", str(KIT), "-cn", arguments.sweep]
    words += [f"data.root={arguments.root.absolute()}", f"output_dir={arguments.runs.absolute()}"]
    words += [f"experiment={','.join(names)}", f"seed={seeds}"]
    if gpus:
        words.append(f"device_groups=[{','.join(f'[{number}]' for number in gpus)}]")
    if len(gpus) > 1:
        words += ["hydra/launcher=local", f"hydra.launcher.n_jobs={len(gpus)}"]
    return words + arguments.words


def runnable(arguments: argparse.Namespace) -> dict[str, DictConfig]:
    """Configuration of each experiment that can run.

    Raises:
        InputError: an experiment is unknown, or weights are missing.
    """
    known = experiments_of(arguments.sweep)
    names = arguments.recipes or known
    for name in names:
        if name not in known:
            raise InputError(f"--recipes names {name}; {did_you_mean(name, known)}")
    if arguments.resnet38 is not None:
        os.environ[RESNET38] = str(arguments.resnet38.expanduser().absolute())
        check_resnet38(Path(os.environ[RESNET38]))
    root = f"data.root={quoted(str(arguments.root.absolute()))}"
    found = {name: composed(arguments.sweep, root, f"experiment={name}") for name in names}
    missing = without_weights(found)
    if missing:
        report("weights", f"these recipes need ResNet38 weights: {', '.join(missing)}", "yellow")
        report("", HOW_TO_GET, "yellow")
        if not arguments.without_resnet38 or len(missing) == len(names):
            raise InputError(
                "pass --resnet38 FILE, or --without-resnet38 to run the other recipes."
            )
    return {name: cfg for name, cfg in found.items() if name not in missing}


def check_disk(runs: Path, recipes: Sequence[str], seeds: int) -> None:
    """Warn if the disk may be too small for the upper estimate of what the recipes need."""
    from cost import cost_of  # builds every network

    place = next(path for path in (runs, *runs.parents) if path.exists())
    free = shutil.disk_usage(place).free / 1e9
    needed = seeds * sum(cost_of(name).gigabytes for name in recipes)
    style = "yellow" if free < needed else ""
    report("disk", f"{free:.0f} GB free, at most {needed:.0f} GB needed (cost.py)", style)


def report(what: str, message: str, style: str = "") -> None:
    console.print(f"{what:<10} {message}", style=style, markup=False, soft_wrap=True)


def prepare(arguments: argparse.Namespace) -> list[str]:
    """Run the checks and return the command of the sweep.

    Raises:
        InputError: something that the sweep needs is missing.
    """
    if not arguments.root.is_dir():
        raise InputError(f"{arguments.root} is not a folder; pass the one that holds JPEGImages.")
    configurations = runnable(arguments)
    first = next(iter(configurations.values()))
    check_data(first, arguments.incomplete)
    gpus = gpus_of(arguments.gpus)
    on_cpu = first.trainer.accelerator == "cpu" or "trainer=cpu" in arguments.words
    if not gpus and not on_cpu:
        raise InputError(
            "there is no GPU, and on a CPU the recipes take months; to run them on the CPU, add "
            "`-- trainer=cpu`."
        )
    report("GPUs", ", ".join(map(str, gpus)) or "none")
    seeds = len(set(arguments.seeds))
    if not arguments.incomplete:
        check_disk(arguments.runs.absolute(), list(configurations), seeds)
    report("jobs", f"{len(configurations)} recipes x {seeds} seeds")
    return command(arguments, list(configurations), [] if on_cpu else gpus)


def main(words: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if words is None else words)
    own = given[: given.index("--")] if "--" in given else given
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="VOC2012, with JPEGImages and SegmentationClassAug")
    default = os.environ.get(RESNET38)
    parser.add_argument(
        "--resnet38",
        type=Path,
        metavar="FILE",
        default=Path(default) if default else None,
        help=f"ImageNet's weights of ResNet38 (or {RESNET38}=FILE)",
    )
    parser.add_argument(
        "--without-resnet38", action="store_true", help="skip the recipes that need it"
    )
    parser.add_argument("--recipes", nargs="+", metavar="RECIPE", help="run only these")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    parser.add_argument("--gpus", nargs="+", type=int, metavar="GPU", help="default: all")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    parser.add_argument("--check", action="store_true", help="check, and print the command")
    parser.add_argument("--incomplete", action="store_true", help="allow incomplete data")
    parser.add_argument(
        "--sweep",
        choices=("sweep", "small"),
        default="sweep",
        help="small: small networks, to try the kit",
    )
    arguments = parser.parse_args(own)
    arguments.words = given[len(own) + 1 :]
    try:
        started = prepare(arguments)
    except InputError as error:
        fail(str(error))
    print(shlex.join(started), flush=True)
    if not arguments.check:
        sys.exit(subprocess.run(started, check=False).returncode)


if __name__ == "__main__":
    main()
