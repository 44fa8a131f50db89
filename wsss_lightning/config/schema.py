"""Types of the keys that a run has, and a look at what they would build, before anything starts."""

import importlib
import inspect
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from wsss_lightning.errors import InputError, did_you_mean

# configuration builds these and nothing else: a file from elsewhere must not run what it likes.
# What only reads, writes or starts things (`run`, `stages`, `data.scores`) is none of them
ALLOWED = (
    "wsss_lightning.data.synthetic.generate.",
    "wsss_lightning.data.dataset.",
    "wsss_lightning.methods.",
    "wsss_lightning.nets.",
    "wsss_lightning.ops.",
    "wsss_lightning.pipelines.",
    "wsss_lightning.refiners.",
    "wsss_lightning.training.callbacks.",
    "wsss_lightning.training.distributed.",
    "wsss_lightning.training.loggers.",
    "torch.optim.",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.trainer.trainer.Trainer",
    "pytorch_lightning.callbacks.",
    "pytorch_lightning.loggers.",
    "pytorch_lightning.plugins.",
    "pytorch_lightning.profilers.",
    "pytorch_lightning.strategies.",
)


HIGHEST_SEED = 2**32 - 1  # that NumPy's and scikit-learn's generators take


@dataclass
class Jitter:
    """Photometric change: factors uniform in 1 +- x, hue in +- x turns."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


@dataclass
class Schedule:
    """How long a network is trained, and on what view of the images."""

    max_epochs: int
    max_steps: int | None  # training ends here if its epochs are longer, or null
    batch_size: int
    crop_size: int
    long_side: Any  # [low, high] pixels of the longer side, or null
    scale: Any  # [low, high] factors, or null
    scale_step: float | None  # between factors that are drawn; null: any in the range
    flip: bool
    jitter: Jitter | None
    hsv_jitter: Any  # hue, saturation and value: shifts uniform in +- x; or null


@dataclass
class SegmenterSchedule(Schedule):
    init_from: str
    validate_crf: bool


@dataclass
class Fit:
    method: Schedule
    segmenter: SegmenterSchedule


@dataclass
class Cam:
    """How maps are read out of a trained method."""

    scales: list[float]
    flip: bool
    long_side: int | None
    layer: str | None
    sub_maps: bool
    tags: str
    alignment: str
    normalisation: str
    storage_bits: int
    batch_size: int


@dataclass
class Seeds:
    """How scores become seeds, and how the threshold is chosen."""

    background_score: float
    background_power: float | None
    thresholds: int
    held_out: float


@dataclass
class Benchmark:
    """A part of the training split that papers score on (`scored_splits`)."""

    split: str | None
    mask_dir: str | None


@dataclass
class Pseudo:
    confidence: float


@dataclass
class Test:
    """How the segmentation network is tested."""

    scales: list[float]
    flip: bool
    long_side: int | None
    crf: bool
    batch_size: int


@dataclass
class Config:
    """The top level of every run; each key has its file or its group in `conf/`."""

    name: str
    recipe: str | None  # published run whose settings these are
    seed: int
    data: Any
    backbone: Any
    method: Any
    crf: Any
    test_crf: Any
    refine: Any
    box_labels: Any
    relabel: Any
    segmenter: Any
    pipeline: Any
    trainer: Any
    logger: Any
    fit: Fit
    cam: Cam
    seeds: Seeds
    benchmark: Benchmark
    pseudo: Pseudo
    test: Test
    num_previews: int
    workers: int
    checkpoint_minutes: float | None
    resume: bool
    output_dir: str
    device_groups: Any


SCORE_WORDS: Mapping[str, tuple[str, ...]] = {
    "tags": ("given", "predicted"),
    "alignment": ("aligned", "irn", "psa"),
    "normalisation": ("min_max", "max"),
}
STRIDED = 4  # pixels a cell of the CAMs that cam.alignment=irn stores for IRN's walk


def splits_of(data: DictConfig) -> list[str]:
    """Names of the splits that a run reads: train, and val where the data set has one.

    One name where a run is scored on the split that it learns from (`data.val=train`).
    """
    return list(dict.fromkeys(split for split in (data.train, data.val) if split is not None))


def normalise_splits(data: DictConfig) -> None:
    """Give a data set without a validation split one form: `data.val` is None.

    A list that is null says that its split does not exist. It is taken out of `dataset.lists`, and
    a `data.val` that names it becomes None.

    Raises:
        InputError: there is no split to learn from.
    """
    lists = OmegaConf.select(data, "dataset.lists")
    if not isinstance(lists, DictConfig):
        raise InputError(
            f"data.dataset.lists is {'null' if lists is None else lists}, but every split needs a "
            "file with the names of its images; set data.dataset.lists.train=FILE, and "
            "data.dataset.lists.val=FILE or null."
        )
    absent = [split for split in lists if lists[split] is None]
    present = [split for split in lists if split not in absent]
    if data.train is None or data.train in absent:
        key = "data.train" if data.train is None else f"data.dataset.lists.{data.train}"
        known = f"; the splits with a list are {', '.join(map(str, present))}" if present else ""
        raise InputError(
            f"{key} is null, but a run needs a split to learn from: set data.train to a key of "
            f"data.dataset.lists, and that key to a file of image names{known}."
        )
    if data.val in absent:
        data.val = None
    with open_dict(lists):
        for split in absent:
            del lists[split]


def check_values(cfg: DictConfig) -> None:
    """Ranges that types cannot say.

    Raises:
        InputError: a value is out of range; the message says which are in it.
    """
    for key in NUMBERS:  # others are typed by `Config`
        value = OmegaConf.select(cfg, key)
        if value is not None and not _number(value):
            raise InputError(f"{key} is {_told(value)}, but a number is expected; set one.")
    for name in ("fit.method", "fit.segmenter", "refine.schedule"):
        _check_sizes(cfg, name)
        _check_jitter(cfg, name)
    unit = {
        "seeds.background_score": "on VOC 0.15 to 0.3 is usual",
        "seeds.held_out": "0.1 sets a tenth of the training images aside for the threshold",
        "pseudo.confidence": "0 ignores no pixel",
    }
    for key, hint in unit.items():
        value = OmegaConf.select(cfg, key)
        if not 0 <= value <= 1:
            raise InputError(f"{key} is {value}, but it lies in [0, 1]; set it there ({hint}).")
    if cfg.seeds.held_out > 0.5:
        raise InputError(
            f"seeds.held_out is {cfg.seeds.held_out}, but images must be left to score; set at "
            "most 0.5."
        )
    if cfg.seeds.thresholds < 2:
        raise InputError(
            f"seeds.thresholds is {cfg.seeds.thresholds}; set 2 or more (101 gives steps of 0.01)."
        )
    for name in ("cam", "test"):
        scales = cfg[name].scales
        if not scales or min(scales) <= 0:
            raise InputError(
                f"{name}.scales is {list(scales)}; give at least one positive scale, such as [1.0]."
            )
        if cfg[name].batch_size < 1:
            raise InputError(f"{name}.batch_size is {cfg[name].batch_size}; set 1 or more.")
        if cfg[name].long_side is not None and cfg[name].long_side < 1:
            raise InputError(
                f"{name}.long_side is {cfg[name].long_side}; set a number of pixels above 0, or "
                "null to see images as they are."
            )
    for name, words in SCORE_WORDS.items():
        if cfg.cam[name] not in words:
            raise InputError(f"cam.{name} is {cfg.cam[name]}; set it to {' or '.join(words)}.")
    cell = OmegaConf.select(cfg, "refine.module.net.stride")
    if cfg.cam.alignment == "irn" and cell is not None and cell != STRIDED:
        raise InputError(
            f"refine.module.net.stride is {cell}, but with cam.alignment=irn the walk starts "
            f"from CAMs with a cell every {STRIDED} pixels; set it to {STRIDED}, or "
            "cam.alignment to aligned or psa."
        )
    if cfg.cam.sub_maps and OmegaConf.select(cfg, "method.net.sub_categories") is None:
        raise InputError(
            "cam.sub_maps is true, but method="
            f"{cfg.method.get('_target_', '').rpartition('.')[2]} knows no sub-categories; set it "
            "to false, or choose experiment=sc_cam."
        )
    for part in ("method", "segmenter"):
        outputs = OmegaConf.select(cfg, f"{part}.num_classes")
        if outputs is not None and outputs != OmegaConf.select(cfg, "data.num_classes"):
            raise InputError(
                f"{part}.num_classes is {outputs}, but data.num_classes is {cfg.data.num_classes}; "
                "leave it out, and the head has an output for every class of the data."
            )
    factor = OmegaConf.select(cfg, "refine.area_factor")
    if factor is not None and not factor >= 1:
        raise InputError(
            f"refine.area_factor is {factor}, but it bounds how many times larger or smaller a "
            "label may become; set 1 or more (5 is a start), or null to keep every refined map."
        )
    _check_epochs(cfg)
    _check_stop_epochs(cfg)
    _check_biases(cfg)
    _check_boxes(cfg)
    _check_slots(cfg.device_groups)
    minutes = OmegaConf.select(cfg, "checkpoint_minutes")
    if minutes is not None and minutes < 0:
        raise InputError(
            f"checkpoint_minutes is {minutes}; set 0 (after each step) or more, or null for "
            "checkpoints at the ends of epochs only."
        )
    check_seeds(cfg)
    check_loggers(cfg)
    if cfg.workers < 0:
        raise InputError(f"workers is {cfg.workers}; set 0 or more.")
    if cfg.num_previews < 1:
        raise InputError(
            f"num_previews is {cfg.num_previews}; set how many rows a sheet has, 1 or more."
        )
    for name in ("fit.method", "fit.segmenter", "refine.schedule"):
        for key in ("max_steps", "batch_size", "crop_size"):
            value = OmegaConf.select(cfg, f"{name}.{key}")
            if value is not None and value < 1:
                raise InputError(f"{name}.{key} is {value}; set a whole number above 0.")
    for name in ("fit.segmenter", "refine"):
        begin = OmegaConf.select(cfg, f"{name}.init_from", default="backbone")
        if begin not in ("backbone", "classifier"):
            raise InputError(
                f"{name}.init_from is {begin}; set it to backbone or to classifier, whose encoder "
                "the network shall begin with."
            )
    if cfg.cam.storage_bits not in (8, 16):
        raise InputError(
            f"cam.storage_bits is {cfg.cam.storage_bits}; scores are stored in 8 or 16 bits."
        )
    classes = OmegaConf.select(cfg, "data.dataset.classes")
    if classes is not None and len(classes) != cfg.data.num_classes:
        raise InputError(
            f"data.num_classes is {cfg.data.num_classes}, but data.dataset.classes names "
            f"{len(classes)} ({', '.join(map(str, classes))}); the head has one output a class, so "
            "make both agree (background counts in neither)."
        )


def check_loggers(cfg: DictConfig) -> None:
    """Loggers write below the folder of their stage, with which its logs are found again.

    Raises:
        InputError: a logger is given a folder of its own.
    """
    for name in cfg.get("logger") or ():
        key = f"logger.{name}.save_dir"
        folder = OmegaConf.select(cfg, key)
        if folder is not None:
            raise InputError(
                f"{key} is {folder}, but logs are written below the run; leave it out, and choose "
                "the folder of all runs by output_dir=DIR."
            )


def check_seeds(cfg: DictConfig) -> None:
    """Every key called `seed`: a whole number that all random generators take.

    Raises:
        InputError: one is not.
    """
    for key, value in _leaves(cfg, ""):
        if key.rpartition(".")[2] != "seed" or value is None:
            continue
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole and 0 <= value <= HIGHEST_SEED):
            raise InputError(
                f"{key} is {_told(value)}, but seeds are whole numbers from 0 to {HIGHEST_SEED} "
                "(32 bits); set one of them."
            )


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, DictConfig):
        yield key, node
        return
    for name in node:
        if not OmegaConf.is_missing(node, name):
            yield from _leaves(node[name], f"{key}.{name}" if key else str(name))


# keys of untyped nodes whose ranges are looked at below
NUMBERS = (
    "crf.theta_alpha",
    "crf.theta_beta",
    "crf.theta_gamma",
    "crf.w1",
    "crf.w2",
    "crf.iterations",
    "test_crf.theta_alpha",
    "test_crf.theta_beta",
    "test_crf.theta_gamma",
    "test_crf.w1",
    "test_crf.w2",
    "test_crf.iterations",
    "data.num_classes",
    "refine.area_factor",
    "box_labels.inner",
    "box_labels.min_fill",
    "box_labels.jitter",
    "relabel.min_fill",
    "relabel.label_confidence",
    "pipeline.min_change",
    "refine.schedule.max_epochs",
    "refine.schedule.max_steps",
    "refine.schedule.batch_size",
    "refine.schedule.crop_size",
)


def _check_sizes(cfg: DictConfig, name: str) -> None:
    """A schedule's ranges of sizes: two positive numbers, or null; one of them at most."""
    given = []
    for key, example in (("long_side", "[256, 512]"), ("scale", "[0.5, 1.5]")):
        value = OmegaConf.select(cfg, f"{name}.{key}")
        if value is None:
            continue
        given.append(f"{name}.{key} is {_told(value)}")
        ends = list(value) if isinstance(value, ListConfig) else []
        if not (len(ends) == 2 and all(map(_number, ends)) and 0 < ends[0] <= ends[1]):
            raise InputError(
                f"{given[-1]}, but a range is two positive numbers, the smaller first; set it as "
                f"in {name}.{key}={example}, or to null."
            )
    step, scale = (OmegaConf.select(cfg, f"{name}.{key}") for key in ("scale_step", "scale"))
    if step is not None and not (_number(step) and step > 0 and scale and _divides(step, scale)):
        raise InputError(
            f"{name}.scale_step is {_told(step)} and {name}.scale is {_told(scale)}, but steps "
            "above 0 must lead from the smallest factor to the largest; set both, as in "
            f"{name}.scale=[0.5,1.5] {name}.scale_step=0.25, or set {name}.scale_step to null."
        )
    if len(given) > 1:
        raise InputError(
            f"{' and '.join(given)}, but one of them must give the size; set the other to null."
        )


# schedule: the module that is trained by it
TRAININGS = {
    "fit.method": "method",
    "fit.segmenter": "segmenter",
    "refine.schedule": "refine.module",
    "pipeline.first_schedule": "pipeline.first",
}


def _check_epochs(cfg: DictConfig) -> None:
    """Trainings take an epoch or more, or none where a whole network is given."""
    for schedule, module in TRAININGS.items():
        key, given = f"{schedule}.max_epochs", f"{module}.net.weights"
        epochs = OmegaConf.select(cfg, key)
        unused = schedule == "pipeline.first_schedule" and cfg.fit.method.max_epochs == 0
        if epochs is None or unused:
            continue
        if epochs < 0:
            raise InputError(
                f"{key} is {epochs}; set a whole number above 0, or 0 to take the network of "
                f"{given} as it is."
            )
        if epochs == 0 and not OmegaConf.select(cfg, given):
            raise InputError(
                f"{key} is 0, which takes a network as it is, but {given} gives none; set it to "
                f"the file of a whole network, or {key} to 1 or more."
            )
    for choice, word, module in (
        ("fit.segmenter.init_from", "classifier", "segmenter"),
        ("refine.init_from", "classifier", "refine.module"),
        ("pipeline.init_from", "last_round", "method"),
    ):
        key = f"{module}.net.weights"
        given = OmegaConf.select(cfg, key)
        if given and OmegaConf.select(cfg, choice) == word:
            other = "initial" if word == "last" else "backbone"
            raise InputError(
                f"{key} is {given}, a whole network, and {choice} is {word}, which would replace "
                f"its encoder; set {choice} to {other}, or {key} to null."
            )


def _check_stop_epochs(cfg: DictConfig) -> None:
    """SC-CAM stops each round within its schedule."""
    stops = OmegaConf.select(cfg, "pipeline.stop_epochs")
    if stops is None or cfg.fit.method.max_epochs == 0:  # no rounds: a network is given
        return
    rounds, last = cfg.pipeline.rounds, cfg.fit.method.max_epochs
    epochs = list(stops) if isinstance(stops, ListConfig) else []
    whole = all(isinstance(epoch, int) and not isinstance(epoch, bool) for epoch in epochs)
    if len(epochs) != rounds or not whole or not all(1 <= epoch <= last for epoch in epochs):
        raise InputError(
            f"pipeline.stop_epochs is {_told(stops)}; give one whole number from 1 to "
            f"fit.method.max_epochs ({last}) for each of the {rounds} rounds of pipeline.rounds, "
            "or null to train each round to the end."
        )


def _check_biases(cfg: DictConfig) -> None:
    for part in ("method", "segmenter", "refine.module"):
        value = OmegaConf.select(cfg, f"{part}.bias_lr_multiplier")
        if value is not None and not (_number(value) and value >= 0):
            raise InputError(
                f"{part}.bias_lr_multiplier is {_told(value)}; set a number of 0 or more (1: as "
                "weights; 2 is PSA's)."
            )
        decay = OmegaConf.select(cfg, f"{part}.decay_biases")
        if decay is not None and not isinstance(decay, bool):
            raise InputError(f"{part}.decay_biases is {_told(decay)}; set true or false.")


def _check_jitter(cfg: DictConfig, name: str) -> None:
    """Ranges of photometric changes; shifts of saturation and value cannot exceed their range."""
    for key, most in (("jitter", None), ("hsv_jitter", 1)):
        changes = OmegaConf.select(cfg, f"{name}.{key}")
        if changes is None:
            continue
        if not isinstance(changes, DictConfig):
            raise InputError(
                f"{name}.{key} is {_told(changes)}; set numbers by name, as in "
                f"{name}.{key}.hue=0.1, or {name}.{key}=null."
            )
        if key == "hsv_jitter" and set(changes) != {"hue", "saturation", "value"}:
            raise InputError(
                f"{name}.{key} is {_told(changes)}; give hue, saturation and value, as in "
                f"'{name}.{key}={{hue: 0.05, saturation: 0, value: 0}}'."
            )
        for part, value in changes.items():
            limit = 0.5 if part == "hue" else most
            if not (_number(value) and value >= 0 and (limit is None or value <= limit)):
                bounds = "0 or more" if limit is None else f"in [0, {limit}]"
                raise InputError(f"{name}.{key}.{part} is {_told(value)}; set it {bounds}.")


def _divides(step: float, ends: Sequence[float]) -> bool:
    steps = (ends[1] - ends[0]) / step
    return round(steps) >= 1 and abs(steps - round(steps)) < 1e-6


def _check_boxes(cfg: DictConfig) -> None:
    """Ranges of what boxes are learnt by; keys that the chosen rules lack are not asked for."""
    shares = {
        "box_labels.inner": "the paper has 0.2",
        "box_labels.min_fill": "0.15 is usual",
        "box_labels.jitter": "the paper has 0.05",
        "relabel.min_fill": "the paper has 0.5",
        "relabel.label_confidence": "0.7 to 0.9 is usual",
        "pipeline.min_change": "0.01 ends when less than a hundredth of the pixels changes",
    }
    for key, hint in shares.items():
        value = OmegaConf.select(cfg, key)
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{key} is {value}, but it is a share; set it in [0, 1] ({hint}).")
    certainty, inner = (OmegaConf.select(cfg, key) for key in ("relabel.label_confidence", _INNER))
    if certainty in (0, 1):
        raise InputError(f"relabel.label_confidence is {certainty}; set it within (0, 1).")
    if inner == 0:
        raise InputError(f"{_INNER} is 0, but boxes must have a centre; set it within (0, 1].")
    for key, words in (
        ("box_labels.of", ("side", "area")),
        ("pipeline.training", ("scratch", "finetune")),
    ):
        value = OmegaConf.select(cfg, key)
        if value is not None and value not in words:
            raise InputError(f"{key} is {value}; set it to {' or '.join(words)}.")
    for key, least in (
        ("box_labels.iterations", 1),
        ("box_labels.runs", 1),
        ("pipeline.rounds", 0),
        ("pipeline.epochs", 1),
    ):
        value = OmegaConf.select(cfg, key)
        if value is not None and not (isinstance(value, int) and value >= least):
            raise InputError(f"{key} is {value}; set a whole number of {least} or more.")
    agree = OmegaConf.select(cfg, "box_labels.agree")
    shared = list(agree) if isinstance(agree, ListConfig) else []
    paired = len(shared) == 2 and all(map(_number, shared))
    if agree is not None and not (paired and 0 <= shared[0] <= shared[1] <= 1):
        raise InputError(
            f"box_labels.agree is {_told(agree)}; give two shares, the smaller first, such as "
            "[0.2, 0.7]."
        )
    context = OmegaConf.select(cfg, "box_labels.context")
    widths = list(context) if isinstance(context, ListConfig) else [context]
    numbers = bool(widths) and all(map(_number, widths))
    if context is not None and not (numbers and min(widths) > 0 and widths == sorted(widths)):
        raise InputError(
            f"box_labels.context is {context}; give widths above 0 in sides of a box, the smaller "
            "first, such as [0.1, 0.6]."
        )


_INNER = "box_labels.inner"


def check_targets(cfg: DictConfig, without: Container[str] = ()) -> None:
    """Hold every `_target_` node against the allow-list and its constructor's signature.

    Args:
        without: keys at the top whose nodes are checked at another time.

    Raises:
        InputError: a target is not allowed or does not exist, a parameter is not known to it, or
            one that it needs is not set.
    """
    parts = [str(name) for name in cfg if name not in without]
    for key, node in (found for name in parts for found in _targets(cfg[name], name)):
        target = str(node["_target_"])
        if not target.startswith(ALLOWED):
            raise InputError(
                f"{key}._target_ is {target}, but configuration may only build what starts with "
                f"{', '.join(ALLOWED)}."
            )
        made = _locate(target, key)
        _check_signature(key, node, target, made)


def _check_slots(slots: Any) -> None:
    told = OmegaConf.to_container(slots) if OmegaConf.is_config(slots) else slots
    groups = told if isinstance(told, list) else []
    numbers = [i for group in groups if isinstance(group, list) for i in group]
    whole = all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in numbers)
    listed = all(isinstance(group, list) and group for group in groups)
    if told is not None and not (groups and listed and whole and len(set(numbers)) == len(numbers)):
        raise InputError(
            f"device_groups is {told}; give groups of device numbers, none in two groups, such as "
            "[[0], [1]] for two jobs beside each other with a GPU each, or null."
        )


def _targets(node: Any, key: str) -> Iterator[tuple[str, DictConfig]]:
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield key, node
        for name in node:
            if not OmegaConf.is_missing(node, name):
                yield from _targets(node[name], f"{key}.{name}" if key else str(name))
    elif isinstance(node, ListConfig):
        for i, item in enumerate(node):
            yield from _targets(item, f"{key}[{i}]")


def _locate(target: str, key: str) -> Callable[..., Any]:
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{key}._target_ is {target}, but {error.name} cannot be imported; mend the name, or "
            "install the package."
        ) from error
    if not hasattr(module, name):
        raise InputError(
            f"{key}._target_ is {target}, but {module_name} has no {name}; "
            f"{did_you_mean(name, [n for n in vars(module) if not n.startswith('_')])}"
        )
    made = getattr(module, name)
    # a module's imports are not its own: `wsss_lightning.pipelines.base.write_json` is of `run`
    home = f"{getattr(made, '__module__', '')}.{getattr(made, '__qualname__', '')}"
    if not callable(made) or not home.startswith(ALLOWED):
        raise InputError(
            f"{key}._target_ is {target}, which is none of {module_name}'s own classes or "
            "functions; name one."
        )
    return made


def _check_signature(key: str, node: DictConfig, target: str, made: Callable[..., Any]) -> None:
    parameters = inspect.signature(made).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = [str(name) for name in node if not str(name).startswith("_")]
    if "_args_" in node:
        raise InputError(f"{key}._args_ is set; give each parameter of {target} by its name.")
    kinds = _annotations(made)
    for name in given:
        if name not in parameters and not takes_any:
            raise InputError(
                f"{key}.{name} is set, but {target} has no such parameter; "
                f"{did_you_mean(name, parameters)}"
            )
        if OmegaConf.is_missing(node, name):
            raise InputError(f"{key}.{name} is not set; give it, as in {key}.{name}=VALUE.")
        if _admits_path(kinds.get(name, Any)) and str(node[name]).strip() == "":
            shown = _referred(node, name, key)
            raise InputError(f"{shown} is empty, but it names a folder or file: {shown}=PATH")
        if not _fits(node[name], kinds.get(name, Any)):
            raise InputError(
                f"{key}.{name} is {_told(node[name])}, but {target} takes "
                f"{_words(kinds[name])} there; set {key}.{name} to that."
            )
    if node.get("_partial_", False):
        return
    needed = [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    for name in needed:
        if name not in given:
            raise InputError(f"{key}.{name} is not set, but {target} needs it; add it.")


def _admits_path(kind: Any) -> bool:
    return kind is Path or (
        get_origin(kind) in (Union, UnionType) and any(map(_admits_path, get_args(kind)))
    )


def _referred(node: DictConfig, name: str, key: str) -> str:
    """The key that a value comes from, where it is a reference to another."""
    value: Any = node._get_node(name)
    reference = re.fullmatch(r"\$\{([\w.]+)\}", str(value._value()))
    return reference[1] if reference else f"{key}.{name}"


def _annotations(made: Callable[..., Any]) -> dict[str, Any]:
    """Types of a constructor's parameters; none where they cannot be told."""
    try:
        return get_type_hints(made.__init__ if isinstance(made, type) else made)  # type: ignore[misc]
    except (NameError, TypeError, AttributeError):  # names that only type checkers import
        return {}


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value of the configuration can be of a type; True where that cannot be told.

    A node of its own may build anything, so it fits wherever no plain value is asked for.
    """
    if kind is Any:  # a class since Python 3.11
        return True
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if kind in _PLAIN:
        return _PLAIN[kind](value)
    listed = isinstance(origin or kind, type) and issubclass(origin or kind, Sequence)
    if isinstance(value, (list, ListConfig)):
        if not listed:
            return not isinstance(kind, type) or kind is object
        of = inner[0] if inner else Any
        return all(_fits(item, of) for item in value)
    if isinstance(value, (Mapping, DictConfig)):
        return "_target_" in value or not listed
    # a plain value, where none is asked for
    return not isinstance(origin or kind, type) or kind is object


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_PLAIN: dict[Any, Callable[[Any], bool]] = {
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: _number,
    str: lambda value: isinstance(value, str),
    Path: lambda value: isinstance(value, str),
    NoneType: lambda value: value is None,
}
_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    Path: "a path",
    NoneType: "null",
}


def _words(kind: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        told = dict.fromkeys(map(_words, inner))  # each once
        return " or ".join(told)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if kind in _WORDS:
        return _WORDS[kind]
    if isinstance(origin or kind, type) and issubclass(origin or kind, Sequence):
        return f"a list, each of it {_words(inner[0])}" if inner else "a list"
    return "what a node of its own says"


def _told(value: Any) -> str:
    """A value as one would type it."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    plain = {None: "null", True: "true", False: "false"}
    return str(plain[value] if value is None or isinstance(value, bool) else value)[:80]
