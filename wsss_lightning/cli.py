"""The command line: compose, check, run a pipeline, write results.json, return the objective.

What is heavy is imported when a run starts, so that help and slips are answered at once.
"""

import hashlib
import json
import os
import platform
import re
import secrets
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from yaml import YAMLError

from wsss_lightning import faults
from wsss_lightning.config import Config, check_targets, check_values
from wsss_lightning.config_files import check_files
from wsss_lightning.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from wsss_lightning.data.examination import Sight
    from wsss_lightning.run import Run

console = Console()

PACKAGES: tuple[str, ...] = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "torchmetrics",
    "timm",
)
PACKAGES += (
    "segmentation-models-pytorch",
    "pydensecrf2",
    "opencv-python-headless",
    "numpy",
    "wsss-lightning",
)


def conf_folder() -> Path:
    """`conf/` of a checkout, or the one inside the installed package."""
    package = Path(__file__).parent
    inside, beside = package / "conf", package.parent / "conf"
    return inside if inside.is_dir() else beside


def main() -> None:
    """Entry of `python -m wsss_lightning` and of the console script."""
    words = options_first(sys.argv[1:])
    if {"--help", "-h"} & set(words):
        print_help()
        return
    for word in words:
        if re.match(r"[^=]*api_?key[^=]*=", word, re.IGNORECASE):
            complain(
                f"{word.split('=')[0]} is a secret, and what stands on the command line is stored "
                "beside the results; set the environment variable WANDB_API_KEY, or run wandb "
                "login."
            )
    command(words, job)


def command(words: list[str], work: Callable[[DictConfig], object]) -> None:
    """Compose a configuration of these words and do the work with it; slips end with exit code 1.

    Args:
        words: overrides and options of Hydra, as typed.
        work: what is done with the configuration, once or for each job of a sweep.
    """
    sys.argv[1:] = words
    # threads that spin while they wait stop each other on busy or virtual cores: 5 times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # of all its jobs, so that the same command finds the same folder
    os.environ["WSSS_SWEEP"] = run_name(word for word in words if not word.startswith("-"))
    # Hydra's own report hides which word was wrong, so we report
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        check_words(words)
        check_files(own(words))
        hydra.main(config_path=str(conf_folder()), config_name="config", version_base="1.3")(work)()
    except (InputError, HydraException, OmegaConfBaseException, YAMLError) as error:
        complain(end_of_sweep() or answer(error, words))
    except KeyboardInterrupt:
        end_of_sweep()
        complain("Interrupted. The same command goes on with the first unfinished stage.")
    except Exception as error:
        told = end_of_sweep() or faults.told(error)
        if not told:  # a defect; of a sweep's jobs, tracebacks are beside their results
            raise
        complain(told)
    else:
        told = end_of_sweep()
        if told:  # fewer than a sweeper's max_failure_rate
            print(f"\n{told}", file=sys.stderr)


def answer(error: Exception, words: Iterable[str]) -> str:
    """What is said of an error that the user can mend."""
    slip = cause_of(error)
    if slip is not None:
        return plain(slip)
    if isinstance(error, YAMLError):
        return f"a configuration file does not parse as YAML; mend it there:\n{error}"
    return explain(error, words)


def check_words(words: list[str]) -> None:
    """Options of Hydra that do not go together or would run what a file says; a place for runs.

    Raises:
        InputError: there are such.
    """
    given = [word.partition("=")[0] for word in words]
    modes = [name for name in given if name in MODES]
    if len({MODES[name] for name in modes}) > 1:
        raise InputError(
            f"{' and '.join(modes)} are given together, but each says what to do; leave one. "
            "--cfg job prints the configuration of one run."
        )
    runs = Path(next((w[5:] for w in words if w.startswith("runs=")), "runs")).absolute()
    there = next(place for place in (runs, *runs.parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise InputError(
            f"runs is {runs}, but {there} is no folder that can be written to; choose a folder "
            "that can be written by runs=DIR."
        )
    if "--experimental-rerun" in given:
        raise InputError(
            "--experimental-rerun unpickles a file, which may run any code; give the words of the "
            "run again, as hydra/overrides.yaml in its folder has them."
        )


MODES: dict[str, str] = {"-m": "m", "--multirun": "m", "-r": "r", "--run": "r", "-c": "c"}
MODES |= {"--cfg": "c", "--info": "i", "-i": "i", "-sc": "s", "--shell-completion": "s"}


def end_of_sweep() -> str:
    """Print what became of the jobs of the sweep that ran, if one did.

    Returns:
        Which jobs failed and why; empty where none did.
    """
    from wsss_lightning.sweep import Sweeps, tell

    if Sweeps.folder is None:
        return ""
    folder, Sweeps.folder = Sweeps.folder, None
    failed = tell(folder)
    if not failed:
        return ""
    causes = "\n".join(f"  job {job['name'].split('_')[0]}: {job['cause']}" for job in failed)
    return (
        f"{len(failed)} jobs of the sweep failed; the same command does those again, and no "
        f"other:\n{causes}"
    )


def options_first(words: list[str]) -> list[str]:
    """Hydra's own options before all KEY=VALUE words, which its parser takes in one piece only."""
    options: list[str] = []
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in WITH_VALUE:
            options += [word, *(value for value in [next(rest, None)] if value is not None)]
        else:
            (options if word.startswith("-") else overrides).append(word)
    return options + overrides


WITH_VALUE: tuple[str, ...] = (
    "--config-dir",
    "-cd",
    "--config-name",
    "-cn",
    "--config-path",
    "-cp",
)
WITH_VALUE += ("--cfg", "-c", "--package", "-p", "--experimental-rerun")


def cause_of(error: BaseException | None) -> InputError | None:
    """The InputError below an error; Hydra puts its own around whatever a constructor raises."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error


def plain(error: InputError) -> str:
    """The message; one that comes from a worker process holds a traceback before it."""
    told = str(error)
    return told.rpartition("InputError: ")[2].strip() if "Traceback (most" in told else told


def complain(message: str) -> None:
    """Print what the user can mend, and end with exit code 1."""
    console.file.flush()
    print(f"\nerror: {message}", file=sys.stderr)
    sys.exit(1)


def job(cfg: DictConfig) -> float | None:
    """A run, alone or as one of a sweep's, which may have been done before.

    Returns:
        mIoU of the segmentation network on val (behind the CRF, where there is one), the objective
        of sweeps; None if not scored.
    """
    from wsss_lightning.sweep import recorded

    now = HydraConfig.get()
    folder = Path(now.runtime.output_dir)
    if now.mode != RunMode.MULTIRUN:
        place(cfg)
        return experiment(cfg, folder)
    with recorded(folder, now.overrides.task) as record:
        record["devices"] = place(cfg)
        record["objective"] = experiment(cfg, folder, again=False)
    return record["objective"]


def place(cfg: DictConfig) -> list[int] | None:
    """Take devices for this process, once all values are checked; None where there are no slots."""
    from wsss_lightning.sweep import take_slot

    check_values(cfg)
    return take_slot(cfg.slots, cfg.trainer.accelerator)


def experiment(cfg: DictConfig, folder: Path, again: bool = True) -> float | None:
    """From a composed configuration to `results.json`.

    Args:
        folder: for results, and links to stages.
        again: look at every stage, and show the table, even where results of the same data,
            configuration and code are there.

    Returns:
        As `job`.
    """
    from hydra.utils import instantiate

    from wsss_lightning.networks import check_networks, fetch_weights, resolve_statistics
    from wsss_lightning.run import Run, write_json
    from wsss_lightning.stages import check_data, crf_settings
    from wsss_lightning.sweep import SWEEP
    from wsss_lightning.wandb_results import log_results, name_runs

    store = Path(cfg.runs) / "stages"
    check_targets(cfg, without=("data",))
    resolve_statistics(cfg)
    check_networks(cfg, tags=supervision(cfg) == "tags")
    crf_settings(cfg.crf)
    checked_data(cfg)
    # the precision of arithmetic is the trainer's, but numbers depend on it
    digest = check_data(cfg.data, supervision(cfg) == "boxes", sights(cfg))
    salt = f"{digest}-{cfg.trainer.get('precision')}"
    # jobs of one start of a sweep may share what they made
    start = None if cfg.resume else secrets.token_hex(8) if again else os.environ[SWEEP]
    run = Run(folder=folder, store=store.absolute(), seed=cfg.seed, salt=salt, start=start)
    where = os.path.relpath(folder)
    console.print(
        f"[bold]{cfg.name}[/] on {cfg.data.name}, seed {cfg.seed}", f"→ {where}", soft_wrap=True
    )
    name_runs(cfg, folder)
    written, key = folder / "results.json", digest_of(cfg, salt)
    if not again and cfg.resume:
        held = found_results(written)
        if held.get("key") == key:
            console.print("[dim]found, with its results: nothing to do[/]")
            log_results(cfg, folder, held, settings(cfg))
            return objective(cfg, held["scores"])
    fetch_weights(cfg)
    scores = instantiate(cfg.pipeline)(cfg, run)
    found = {**results(cfg, run, scores), "key": key}
    write_json(written, found)
    show(cfg, scores, run)
    log_results(cfg, folder, found, settings(cfg))
    return objective(cfg, scores)


def found_results(written: Path) -> dict[str, Any]:
    """What a former run left; nothing where there is none, or it is damaged."""
    try:
        return json.loads(written.read_text())
    except (OSError, ValueError):
        return {}


def checked_data(cfg: DictConfig) -> None:
    """Generate what is to be generated, and look at what the data's node would build."""
    from hydra.utils import instantiate

    if "generate" in cfg.data:
        console.print(f"[dim]generated data: {cfg.data.name}[/]")
        check_targets(OmegaConf.create({"data": {"generate": cfg.data.generate}}))
        cfg.data.root = str(instantiate(cfg.data.generate))
    check_targets(OmegaConf.create({"data": cfg.data}))


def sights(cfg: DictConfig) -> "list[Sight]":
    """In which sizes the run's networks learn and see, where training fixes sizes in pixels."""
    from wsss_lightning.data.examination import Sight

    used = {"segmenter": "test"} if cfg.pipeline.get("segment", True) else {}
    if supervision(cfg) == "tags":
        used = {"method": "score"} | used
    return [
        Sight(
            f"fit.{part}.long_side",
            tuple(cfg.fit[part].long_side),
            f"{use}.long_side",
            cfg[use].long_side,
            cfg[use].scales,
        )
        for part, use in used.items()
        if cfg.fit[part].long_side is not None
    ]


def objective(cfg: DictConfig, scores: dict[str, float]) -> float | None:
    """What a sweeper maximises."""
    last = "segmentation_crf" if cfg.test.crf else "segmentation"
    return scores.get(f"{last}/{cfg.data.val}/miou")


def digest_of(cfg: DictConfig, salt: str) -> str:
    """Of all that results depend on: data, configuration and code, but not where a run is made."""
    from wsss_lightning.run import source_digest

    source = source_digest(("report", "doctor.py"))
    content = json.dumps([settings(cfg), salt, source], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def settings(cfg: DictConfig) -> dict[str, Any]:
    """The composed configuration, but for how a run is made and watched."""
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    return {key: value for key, value in plain.items() if key not in HOW}


# keys that say how a run is made and watched, not what it finds
HOW = ("trainer", "logger", "workers", "checkpoint_minutes", "resume", "runs", "slots")


def results(cfg: DictConfig, run: "Run", scores: dict[str, float]) -> dict[str, Any]:
    """What `results.json` holds."""
    from wsss_lightning.run import code_version

    versions = {"python": platform.python_version(), "code": code_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "experiment": cfg.name,
        "data": cfg.data.name,
        "data_digest": run.salt.removesuffix(f"-{cfg.trainer.get('precision')}"),
        "seed": cfg.seed,
        "scores": dict(sorted(scores.items())),
        "protocol": protocol(cfg),
        "annotation": annotation(cfg),
        "words": list(HydraConfig.get().overrides.task),
        "reader": OmegaConf.to_container(cfg.data.reader, resolve=True),
        "seconds": {name: round(value, 2) for name, value in run.seconds.items()},
        "versions": versions,
    }


def supervision(cfg: DictConfig) -> str:
    """What a pipeline learns from."""
    name = cfg.pipeline._target_.rpartition(".")[2]
    return {"full_supervision": "true masks", "boxes": "boxes"}.get(name, "tags")


def protocol(cfg: DictConfig) -> dict[str, Any]:
    """Under which rules the scores were made; a number without them means little."""
    weak = supervision(cfg) == "tags"
    tags = cfg.data.reader.tags
    told = {
        "trained_on": supervision(cfg),
        "splits": {"train": cfg.data.train, "val": cfg.data.val},
        "tags_from": tags,
        "miou": "one confusion matrix a split, background included, 255 left out, mean over the "
        "labels that the split truly shows",
        "segmentation": {
            "scales": list(cfg.test.scales),
            "flip": cfg.test.flip,
            "long_side": cfg.test.long_side,
        },
        "segmentation_begins_with": cfg.fit.segmenter.encoder if weak else "backbone",
        "initial_weights": _weights(cfg, weak),
        "normalisation": {"mean": list(cfg.backbone.mean), "std": list(cfg.backbone.std)},
        "precision": str(cfg.trainer.get("precision")),
    }
    if supervision(cfg) == "boxes":
        boxes = cfg.data.reader.boxes
        return told | {
            "boxes_from": boxes,
            "labels": cfg.box_labels._target_.rpartition(".")[2],
            "relabelled_by": cfg.relabel._target_.rpartition(".")[2],
            "true_masks_of_train": "boxes and scoring" if boxes == "masks" else "scoring only",
        }
    if not weak:
        return told
    return told | {
        "tags_of_seeds": cfg.score.tags,
        "seeds": {"scales": list(cfg.score.scales), "flip": cfg.score.flip},
        "thresholds": {
            "miou": f"fixed at {cfg.seeds.background_score}, over the split",
            "miou_held_out": f"chosen on the masks of a share {cfg.seeds.held_out} of the images "
            "of the split, evenly spread, scored on all others",
            "miou_oracle": "the best for the split's own masks, over the split",
        },
        "true_masks_of_train": "tags and scoring" if tags == "masks" else "scoring only",
    }


def annotation(cfg: DictConfig) -> dict[str, int | None]:
    """What people had to annotate for a run to learn from, in units; 0 where it used none.

    Questions of tags are one for each class of each image. Objects outlined are the boxes of the
    data set where it has them; else None, since masks of classes do not tell objects apart.
    """
    from hydra.utils import instantiate

    from wsss_lightning.metrics import is_held_out

    kind, every = supervision(cfg), cfg.seeds.held_out
    reader = instantiate(cfg.data.reader)
    train = reader(split=cfg.data.train, with_masks=False)
    told: dict[str, int | None] = {
        "images": len(train),
        "tag_questions": len(train) * cfg.data.num_classes,
        "boxes": 0,
        "masks": 0,
        "objects_outlined": 0,
        "held_out_masks": 0,
    }
    if kind == "tags":
        val = reader(split=cfg.data.val, with_masks=False)
        told["held_out_masks"] = sum(is_held_out(i, every) for i in range(len(val)))
        return told
    try:
        objects = reader(split=cfg.data.train, with_masks=False, with_boxes=True).count_boxes()
        count = objects.boxes
    except InputError:
        count = None
    return told | (
        {"boxes": count} if kind == "boxes" else {"masks": len(train), "objects_outlined": count}
    )


def _weights(cfg: DictConfig, weak: bool) -> str:
    backbone, whole = cfg.backbone, OmegaConf.select(cfg, "method.net.weights")
    if weak and whole:
        return Path(whole).name
    if backbone.weights:
        return Path(backbone.weights).name
    return "of the hub" if backbone.pretrained else "random"


def show(cfg: DictConfig, scores: dict[str, float], run: "Run") -> None:
    """The score table, and where pictures and results lie."""
    title = f"{cfg.name} on {cfg.data.name}, seed {cfg.seed} (percent)"
    table = Table(title=title, min_width=len(title))
    table.add_column("")
    splits = (cfg.data.train, cfg.data.val)
    for split in splits:
        table.add_column(split, justify="right")
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for key, value in scores.items():
        step, split, metric = key.rsplit("/", 2)
        if not metric.startswith(("iou_", "threshold", "loss", "coverage", "kept_")):
            rows.setdefault((step, metric), {})[split] = value
    for (step, metric), values in rows.items():
        cells = (f"{100 * values[s]:.1f}" if s in values else "" for s in splits)
        table.add_row(f"{step} {METRICS.get(metric, metric)}", *cells)
    console.print(table)
    spent = sum(run.seconds.values())
    console.print(f"{spent / 60:.1f} minutes of work, {len(run.seconds)} stages")
    # a path that is broken over two lines cannot be copied
    console.print(
        f"pictures  {run.folder / 'pictures'}/*/*.png\nresults   {run.folder}/results.json",
        soft_wrap=True,
    )


METRICS = {
    "map": "mAP of tags",
    "f1": "F1 of tags",
    "miou": "mIoU",
    "miou_labelled": "mIoU of labelled pixels",
    "miou_held_out": "mIoU, held-out threshold",
    "miou_oracle": "mIoU, oracle threshold",
    "kept": "images left as they were",
    "stability": "stability (ARI)",
    "recovery": "true looks found (ARI)",
    "changed": "pixels relabelled",
}


def options(group: str, *own: Path) -> list[str]:
    """Names of the files of a group, those in the user's own folders too."""
    folders = (conf_folder(), *own)
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def print_help() -> None:
    """Experiments with one line each, the groups, and the usual next words."""
    table = Table(box=None, show_header=False, padding=(0, 2))
    for name in options("experiment"):
        lines = (conf_folder() / "experiment" / f"{name}.yaml").read_text().splitlines()
        told = next((line[2:] for line in lines if re.match(r"# (?!@)", line)), "")
        table.add_row(f"[bold]experiment={name}[/]", told)
    console.print("Image tags and boxes to segmentation masks.\n")
    console.print("[bold]python -m wsss_lightning experiment=NAME [KEY=VALUE ...][/]\n")
    console.print(table)
    console.print()
    groups = Table(box=None, show_header=False, padding=(0, 2))
    for group in sorted(group_names()):
        if group != "experiment":
            groups.add_row(f"{group}=", ", ".join(options(group)))
    console.print(groups)
    console.print(
        Panel(
            "experiment=cam data=voc2012 data.root=DIR    on Pascal VOC\n"
            "experiment=cam --cfg job                     print every key and its value\n"
            "experiment=cam -m seed=0,1,2                 several runs, one after the other\n"
            "--config-dir DIR                             your own files of any group\n"
            "--hydra-help                                 all options of Hydra",
            title="examples",
            expand=False,
        )
    )


def explain(error: Exception, words: Iterable[str]) -> str:
    """Hydra's message, its first paragraph, with the nearest right word for the wrong one."""
    told = str(error).strip()
    if not told:  # of OmegaConf's parser
        return (
            "a ${...} of the configuration does not parse; close its brackets, or put the value "
            "in quotes."
        )
    cause = error.__cause__
    if cause is not None and str(cause) not in told:
        told = f"{told}\n{cause}"
    missing = re.search(r"Could not find '([\w/]+)/([^'/]+)'", told)
    if missing:
        group, name = missing.groups()
        if group.startswith("hydra"):
            return (
                f"{group}={name} is not known; Hydra's launchers and sweepers are plugins: install "
                'them by pip install "wsss-lightning[sweep]", or mend the name.'
            )
        return f"{group}={name} is not known; {did_you_mean(name, options(group, *own(words)))}"
    unset = re.search(r"Missing mandatory value: ([\w.]+)", told)
    if unset:
        return f"{unset[1]} is not set; give it, as in {unset[1]}=VALUE."
    if "You must specify 'experiment'" in told:
        listed = "\n".join(f"  experiment={name}" for name in options("experiment"))
        return f"choose an experiment (--help says more):\n{listed}"
    there = re.search(r"An item is already at '([\w./@]+)'", told)
    if there:
        return f"{there[1]} is a key already; set it without the +."
    key = re.search(r"Could not (?:override|append to config|delete)[^']*'([\w./@]+)'", told)
    if key:
        return f"{key[1]} is no key; {did_you_mean(key[1], known_keys(words))}"
    # the last lines say in which class Hydra was, which is nothing that a user can mend
    said = [line for line in told.splitlines() if not re.match(r"\s*(full_key|\w+_type)[:=]", line)]
    return "\n".join(said)


def own(words: Iterable[str]) -> list[Path]:
    """Folders of --config-dir and --config-path, and those of hydra.searchpath."""
    said = "\n".join(words)
    option = r"^(?:--config-dir|-cd|--config-path|-cp)[=\n](.+)$|^-c[dp](?![=\n])(.+)$"
    found = [one or other for one, other in re.findall(option, said, re.MULTILINE)]
    for line in re.findall(r"^\+*hydra\.searchpath=(.*)$", said, re.MULTILINE):
        found += re.findall(r"file://([^,'\"\]\s]+)", line)
    return [Path(folder).absolute() for folder in found]


def known_keys(words: Iterable[str]) -> list[str]:
    """All keys of the composed configuration, groups included."""
    group_words = [w for w in words if re.match(rf"({'|'.join(group_names())})=[\w]+$", w)]
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        chosen = group_words if any(w.startswith("experiment=") for w in group_words) else []
        places = ",".join(f"'file://{folder}'" for folder in own(words))
        added = [f"hydra.searchpath=[{places}]"]
        cfg = hydra.compose("config", overrides=[*(chosen or ["experiment=cam"]), *added])
    return [*group_names(), *_keys(cfg, "")]


def group_names() -> list[str]:
    """Of our own groups; those below `hydra` are Hydra's, and have more in its plugins."""
    return [path.name for path in conf_folder().iterdir() if path.is_dir() and path.name != "hydra"]


def _keys(node: Any, prefix: str) -> list[str]:
    keys = []
    if isinstance(node, DictConfig):
        for name in node:
            key = f"{prefix}.{name}" if prefix else str(name)
            keys += [key] if str(name).startswith("_") else [key, *_keys(node._get_node(name), key)]
    return keys


def run_name(words: Iterable[str]) -> str:
    """A folder name from overrides: what was chosen, without paths; long ones end in a digest."""
    skip = ("runs=", "logger", "trainer", "workers=", "checkpoint_minutes=", "resume=", "hydra.")
    said = [re.sub(r"=.*/", "=", w) for w in words if not w.startswith(skip)]
    name = ",".join(re.sub(r"[^\w=.,+-]+", "-", w) for w in sorted(said)) or "default"
    if len(name) > 120:
        name = f"{name[:108]}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"
    return name


OmegaConf.register_new_resolver("run_name", run_name, replace=True)
ConfigStore.instance().store(name="schema", node=Config)
