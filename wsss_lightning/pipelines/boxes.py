"""Boxes -> labels -> rounds of training and relabelling -> segmentation network."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from omegaconf import DictConfig, OmegaConf

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.config.splits import splits_of
from wsss_lightning.data.supervision import BOXES
from wsss_lightning.pipelines.base import SEGMENTER_KEYS, Experiment, Scores, Splits, learns_from
from wsss_lightning.pipelines.masks_to_learn import PSEUDO_HEADINGS, learned_from, masks_to_learn
from wsss_lightning.pipelines.pictures import show
from wsss_lightning.steps.boxes import box_labels, relabel
from wsss_lightning.steps.previews import round_chart
from wsss_lightning.steps.train import train


@learns_from(BOXES)
def boxes(
    cfg: DictConfig,
    cache: StageCache,
    rounds: Annotated[int, Ge(0)],
    min_change: Annotated[float, Ge(0), Le(1), "0.01 is a hundredth of the pixels"] | None,
    training: Literal["scratch", "finetune"],
    epochs: Annotated[int, Ge(1)] | None,
) -> Scores:
    """Make labels from boxes, and refine them over several rounds of training and prediction.

    Scores of a round are named `round_<r>/`. The labels of a round are made after its training;
    those of round 0 are made from the boxes alone.

    Args:
        cfg: configuration of the run.
        cache: cache of the run's steps.
        rounds: largest number of rounds.
        min_change: relabelling stops when a smaller share of pixels changes; None: never.
        training: each round trains the network from `scratch`, or continues that of the previous
            round (`finetune`).
        epochs: number of epochs of each round; None: as many as the last training.
    """
    experiment = Experiment(cfg, cache)
    schedule = cfg.fit.segmenter
    if epochs is not None:
        schedule = OmegaConf.merge(schedule, {"max_epochs": epochs})
    labels_of = {"boxes": _labels_from_boxes(experiment)}
    trained: Path | None = None
    marginals: Path | None = None
    for r in range(1, rounds + 1):
        previous = list(labels_of.values())[-1]
        trained = cache.run(
            f"round_{r}/segmentation",
            train,
            memory_keys=SEGMENTER_KEYS,
            module=cfg.segmenter,
            data=cfg.data,
            schedule=schedule,
            target="masks",
            masks=previous,
            **_weights(training, trained, r - 1, schedule),
        )
        initial = labels_of["boxes"]
        marginals = _predict_with_marginals(experiment, r, trained)
        labels_of[f"round {r}"] = _relabel(experiment, r, marginals, initial, previous)
        changed = experiment.scores[f"round_{r}/labels/{cfg.data.train}/changed"]
        if min_change is not None and changed < min_change:
            break
    labels, done = list(labels_of.values())[-1], len(labels_of) - 1
    chain = masks_to_learn(experiment, labels, marginals=marginals)
    weights = _weights(training, trained, done, schedule)
    predictions = experiment.segment(masks=learned_from(chain), **weights)
    _show(experiment, labels_of, chain, predictions)
    return experiment.scores


def _weights(
    training: str, trained: Path | None, rounds: int, schedule: DictConfig
) -> dict[str, Any]:
    """Initial weights of the next training."""
    if training != "finetune" or trained is None:
        return {"continue_from": None, "epochs_before": 0}
    return {"continue_from": trained, "epochs_before": rounds * schedule.max_epochs}


def _labels_from_boxes(experiment: Experiment) -> Path:
    cfg, train_split = experiment.cfg, experiment.cfg.data.train
    # the labels use no random numbers of the run, so runs of all seeds share them
    labels = replace(experiment.cache, seed=0).run(
        "round_0/labels", box_labels, data=cfg.data, split=train_split, rule=cfg.box_labels
    )
    experiment.score_masks("round_0/labels", train_split, labels)
    return labels


def _predict_with_marginals(experiment: Experiment, r: int, trained: Path) -> Path:
    """Predict all splits with this round's network; return its marginals of the training split."""
    cfg, train_split = experiment.cfg, experiment.cfg.data.train
    with_marginals = OmegaConf.merge(cfg.test, {"crf": True})
    settings = dict.fromkeys(reversed(splits_of(cfg.data)), cfg.test) | {
        train_split: with_marginals
    }
    predictions = {
        split: experiment.predict(
            f"round_{r}/segmentation", f"round_{r}/predictions", trained, split, test
        )
        for split, test in settings.items()
    }
    return predictions[train_split]


def _relabel(
    experiment: Experiment, r: int, marginals: Path, initial: Path, previous: Path
) -> Path:
    """Labels of the next round, from the marginals of this round's network."""
    cfg, train_split = experiment.cfg, experiment.cfg.data.train
    labels = experiment.cache.run(
        f"round_{r}/labels",
        relabel,
        data=cfg.data,
        split=train_split,
        predictions=marginals,
        initial=initial,
        previous=previous,
        rule=cfg.relabel,
        crf=cfg.crf,
    )
    experiment.add(f"round_{r}/labels/{train_split}", labels)
    experiment.score_masks(f"round_{r}/labels", train_split, labels)
    return labels


def _show(experiment: Experiment, labels_of: Splits, learned: Splits, predictions: Splits) -> None:
    """A chart of the scores over rounds, and previews of labels and predictions."""
    cfg, data, scores = experiment.cfg, experiment.cfg.data, experiment.scores
    done, tested = len(labels_of) - 1, splits_of(cfg.data)[-1]
    lines = {
        f"labels, {data.train}": [
            (r, f"round_{r}/labels/{data.train}/miou") for r in range(done + 1)
        ],
        f"network, {tested}": [
            *((r, f"round_{r}/segmentation/{tested}/miou") for r in range(1, done + 1)),
            (done + 1, f"segmentation/{tested}/miou"),
        ],
    }
    points = {
        name: [(r, scores[key]) for r, key in line if key in scores] for name, line in lines.items()
    }
    if any(points.values()):
        title = f"{cfg.name} on {data.name}, seed {cfg.seed}: mIoU over rounds"
        experiment.cache.run("pictures/rounds", round_chart, points=points, title=title)
    of_labels, of_network = ("pseudo", "labels"), ("segmentation", "prediction")
    show(experiment, "labels", data.train, labels_of, of_labels)
    for split in splits_of(data):
        headings = {**PSEUDO_HEADINGS, "pseudo": "labels"}
        labels = learned.items() if split == data.train else ()
        steps = {headings[step]: folder for step, folder in labels}
        ranked_by = of_labels if steps else of_network
        show(experiment, split, split, {**steps, "prediction": predictions[split]}, ranked_by)
