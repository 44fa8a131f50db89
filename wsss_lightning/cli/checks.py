"""Checks of a run before its first stage starts."""

from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.markup import escape

from wsss_lightning.config.parameter_errors import parameters_as_keys
from wsss_lightning.config.ranges import check_seeds
from wsss_lightning.config.splits import normalise_splits
from wsss_lightning.config.targets import check_targets
from wsss_lightning.data.supervision import Supervision
from wsss_lightning.errors import InputError
from wsss_lightning.utils.console import console

if TYPE_CHECKING:
    from wsss_lightning.data.report import TrainTestScale


def prepare_data(cfg: DictConfig) -> None:
    """Generate a synthetic data set if one is chosen, and check the configuration of the data.

    Raises:
        InputError: a value of the configuration cannot be used.
    """
    from hydra.utils import instantiate

    normalise_splits(cfg.data)
    if "generate" in cfg.data:
        if cfg.data.root is not None:
            raise InputError(
                f"data.root is {cfg.data.root}, but data={cfg.data.name} generates its images; "
                "choose data=voc_layout, or a file of your own, to read a folder."
            )
        check_seeds(OmegaConf.create({"data": {"generate": cfg.data.generate}}))
        console.print(f"[dim]generated data: {escape(cfg.data.name)}[/]")
        check_targets(OmegaConf.create({"data": {"generate": cfg.data.generate}}))
        with parameters_as_keys(cfg.data.generate):
            cfg.data.root = str(instantiate(cfg.data.generate))
    check_targets(OmegaConf.create({"data": cfg.data}))


def batch_sizes(cfg: DictConfig, supervision: Supervision) -> dict[str, int]:
    """Batch size of each network that a run trains, by its key."""
    schedules = {"fit.segmenter": cfg.pipeline.get("segment", True)}
    if supervision.uses_seeds:
        schedules |= {"fit.method": True, "refine.schedule": "schedule" in cfg.refine}
    sizes = {
        f"{name}.batch_size": OmegaConf.select(cfg, f"{name}.batch_size")
        for name, is_trained in schedules.items()
        if is_trained
    }
    return {key: size for key, size in sizes.items() if size is not None}


def train_test_scales(cfg: DictConfig, supervision: Supervision) -> "list[TrainTestScale]":
    """Training and test sizes of each network whose training fixes sizes in pixels."""
    from wsss_lightning.data.report import TrainTestScale

    test_nodes = {"segmenter": "test"} if cfg.pipeline.get("segment", True) else {}
    if supervision.uses_seeds:
        test_nodes = {"method": "cam"} | test_nodes
    return [
        TrainTestScale(
            f"fit.{part}.long_side",
            tuple(cfg.fit[part].long_side),
            f"{node}.long_side",
            cfg[node].long_side,
            cfg[node].scales,
        )
        for part, node in test_nodes.items()
        if cfg.fit[part].long_side is not None
    ]


def objective(cfg: DictConfig, scores: dict[str, float]) -> float | None:
    """The score that a sweeper maximises; None if the network was not scored on `data.val`."""
    if cfg.data.val is None:
        return None
    last = "segmentation_crf" if cfg.test.crf else "segmentation"
    return scores.get(f"{last}/{cfg.data.val}/miou")


def check_objective(cfg: DictConfig) -> None:
    """Reject a sweeper whose objective no job of the sweep will have.

    Raises:
        InputError: there is no validation split, it has no true masks, or no segmentation network
            is trained.
    """
    from wsss_lightning.steps.datasets import datasets_of

    context = HydraConfig.get()
    sweeper = context.sweeper._target_.rpartition(".")[2]
    if context.mode != RunMode.MULTIRUN or sweeper == "BasicSweeper":
        return
    if not cfg.pipeline.get("segment", True):
        reason = "pipeline.segment is false; set it to true, or choose pipeline=tags"
    elif cfg.data.val is None:
        reason = "data.val is null; set it to a split with true masks"
    elif not datasets_of(cfg.data)(cfg.data.val).has_masks():
        reason = f"data.val is {cfg.data.val}, which has no true masks; set data.dataset.mask_dir"
    else:
        return
    raise InputError(
        f"{sweeper} maximises the mIoU of the segmentation network on the validation split, but "
        f"{reason}. Or list the values with -m and use Hydra's basic sweeper."
    )
