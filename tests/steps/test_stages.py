import json

import numpy as np
import pytest
import torch
import torchvision
from facts import assert_names, raises_naming
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

import wsss_lightning.steps.crf
import wsss_lightning.steps.train
from wsss_lightning.data.scores import load_mask, load_score, load_strided, save_mask, save_score
from wsss_lightning.data.tag_probabilities import load_probabilities
from wsss_lightning.densecrf.pydensecrf_engine import EngineError
from wsss_lightning.errors import InputError
from wsss_lightning.methods.sc_cam.clusters import ABSENT
from wsss_lightning.methods.sc_cam.files import Features, load_features, save_features
from wsss_lightning.ops.alignment import view_of
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.steps.cams import cams, validate_tags
from wsss_lightning.steps.check_data import check_data
from wsss_lightning.steps.clusters import cluster, features
from wsss_lightning.steps.config_nodes import crf_settings
from wsss_lightning.steps.crf import constant_background, crf
from wsss_lightning.steps.evaluate import evaluate_masks, evaluate_seeds
from wsss_lightning.steps.metrics_file import load_metrics
from wsss_lightning.steps.previews import cluster_previews, previews
from wsss_lightning.steps.pseudo_masks import pseudo_masks
from wsss_lightning.steps.runtime import Runtime, build_trainer
from wsss_lightning.steps.tag_probabilities import tag_probabilities
from wsss_lightning.steps.train import load, load_sub_tags, train

SIDE = 10
NAMES = ["x0", "x1", "x2", "x3"]


def write_set(root, truths, size=(SIDE, SIDE)):
    """Images of noise, all tagged cat, with these masks, as split `val`; `train` is the same."""
    for folder in ("JPEGImages", "SegmentationClass"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, truth in truths.items():
        noise = rng.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(noise).save(root / f"JPEGImages/{name}.png")
        save_mask(root / f"SegmentationClass/{name}.png", truth)
    (root / "val.txt").write_text("\n".join(truths))
    (root / "tags.csv").write_text("\n".join(["image,cat", *(f"{name},1" for name in truths)]))
    return OmegaConf.create(
        {
            "name": "four",
            "train": "train",
            "val": "val",
            "num_classes": 1,
            "subcategories": None,
            "dataset": {
                "_target_": "wsss_lightning.data.dataset.VOCDataset",
                "_partial_": True,
                "root": str(root),
                "classes": ["cat"],
                "lists": {"train": "val.txt", "val": "val.txt"},
                "tags": "tags.csv",
                "mask_ids": None,
                "image_dir": "JPEGImages",
                "mask_dir": "SegmentationClass",
                "annotation_dir": "Annotations",
                "on_missing_labels": "error",
            },
        }
    )


def columns(*counts):
    """A map of 100 pixels with so many of each value, in order of (value, count)."""
    values = np.concatenate([np.full(count, value) for value, count in counts])
    return values.reshape(SIDE, SIDE)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four images, the upper half cat."""
    truth = columns((1, 50), (0, 50)).astype(np.uint8)
    return write_set(tmp_path_factory.mktemp("set") / "set", dict.fromkeys(NAMES, truth))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Of x0, scores find the cat above 0.6; of the others, above 0.2."""
    folder = tmp_path_factory.mktemp("seeds")
    for name in NAMES:
        cat, rest = (1.0, 0.6) if name == "x0" else (0.4, 0.2)
        score = columns((cat, 50), (rest, 50))[None].astype(np.float32)
        save_score(folder / f"{name}.npz", score, np.array([1]), bits=8)
    return folder


def runtime(workers=0):
    trainer = OmegaConf.create(
        {
            "_target_": "pytorch_lightning.Trainer",
            "_partial_": True,
            "accelerator": "cpu",
            "use_distributed_sampler": False,
        }
    )
    return Runtime(trainer, OmegaConf.create({}), workers)


def evaluate(folder, data, seeds, **how):
    usual = {"background_score": 0.3, "thresholds": 11, "held_out": 0.25}
    settings = OmegaConf.create({**usual, **how})
    folder.mkdir(exist_ok=True)
    evaluate_seeds(folder, scores=seeds, data=data, split="val", seeds=settings)
    return load_metrics(folder)


def mean_iou(*, tp, cat, found, pixels):
    """Of cat and background, by hand."""
    union = cat + found - tp
    right = pixels - union
    return (tp / union + right / (pixels - tp)) / 2


# seeds

# pixels found as cat over the four images: above 0.2 .. 0.39 all of x0 and the cats of the others;
# above 0.4 .. 0.59 all of x0 alone; above 0.6 the cat of x0 alone
LOW = mean_iou(tp=200, cat=200, found=250, pixels=400)
HIGH = mean_iou(tp=50, cat=200, found=50, pixels=400)


def test_seeds_are_scored_under_the_fixed_threshold(tmp_path, data, seeds):
    metrics = evaluate(tmp_path / "low", data, seeds)
    assert metrics["threshold"] == 0.3
    assert metrics["miou"] == pytest.approx(LOW)
    assert metrics["iou_cat"] == pytest.approx(200 / 250)
    assert metrics["iou_background"] == pytest.approx(150 / 200)
    assert evaluate(tmp_path / "high", data, seeds, background_score=0.7)["miou"] == pytest.approx(
        HIGH
    )


@pytest.mark.parametrize("held_out", [0, 0.25, 0.5])
def test_the_oracle_is_the_best_threshold_over_the_whole_split(tmp_path, data, seeds, held_out):
    metrics = evaluate(tmp_path / "e", data, seeds, held_out=held_out)
    assert metrics["threshold_oracle"] == pytest.approx(0.2)  # the lowest of equals
    assert metrics["miou_oracle"] == pytest.approx(LOW)


def test_the_held_out_threshold_is_chosen_on_a_part_and_scored_on_the_rest(tmp_path, data, seeds):
    # of every four images the first chooses: above 0.6 x0 is perfect, the others lose all cats
    metrics = evaluate(tmp_path / "e", data, seeds, held_out=0.25)
    assert metrics["threshold_held_out"] == pytest.approx(0.6)
    assert metrics["miou_held_out"] == pytest.approx(mean_iou(tp=0, cat=150, found=0, pixels=300))


def test_half_the_images_choose_where_half_are_held_out(tmp_path, data, seeds):
    # x0 and x2 choose: above 0.2 both cats are found with half of x0 too many
    metrics = evaluate(tmp_path / "e", data, seeds, held_out=0.5)
    assert metrics["threshold_held_out"] == pytest.approx(0.2)
    assert metrics["miou_held_out"] == pytest.approx(1.0)


def test_without_a_part_held_out_there_is_no_such_figure(tmp_path, data, seeds):
    metrics = evaluate(tmp_path / "e", data, seeds, held_out=0)
    assert not [key for key in metrics if "held_out" in key]


def test_the_curve_agrees_with_the_fixed_threshold(tmp_path, data, seeds):
    metrics = evaluate(tmp_path / "e", data, seeds)
    curve = json.loads((tmp_path / "e/curve.json").read_text())
    assert curve["threshold"] == [i / 10 for i in range(11)]
    assert {key: len(values) for key, values in curve.items()} == dict.fromkeys(
        ("threshold", "miou", "precision", "recall"), 11
    )
    assert curve["miou"][3] == pytest.approx(metrics["miou"], abs=1e-6)
    assert curve["miou"][7] == pytest.approx(HIGH, abs=1e-6)


def test_ignored_pixels_of_the_truth_do_not_count(tmp_path, seeds):
    truth = columns((1, 50), (IGNORE, 50)).astype(np.uint8)
    data = write_set(tmp_path / "set", dict.fromkeys(NAMES, truth))
    assert evaluate(tmp_path / "e", data, seeds)["iou_cat"] == 1


def test_images_without_a_score_map_are_background(tmp_path, data):
    empty = np.zeros((0, SIDE, SIDE), np.float32)
    for name in NAMES:
        save_score(tmp_path / f"{name}.npz", empty, np.zeros(0, np.int64), bits=8)
    metrics = evaluate(tmp_path / "e", data, tmp_path)
    assert metrics["iou_background"] == pytest.approx(0.5)
    assert metrics["iou_cat"] == 0


@pytest.mark.parametrize("evaluation", ["seeds", "masks"])
def test_without_true_masks_nothing_is_scored(tmp_path, data, seeds, evaluation):
    blind = data.copy()
    blind.dataset = {**data.dataset, "mask_dir": "nowhere"}
    if evaluation == "seeds":
        assert evaluate(tmp_path / "e", blind, seeds) == {}
    else:
        evaluate_masks(tmp_path, masks=tmp_path, data=blind, split="val")
        assert load_metrics(tmp_path) == {}


# masks


def test_coverage_is_the_share_of_labelled_pixels_and_an_ignored_one_is_a_miss(tmp_path, data):
    masks = tmp_path / "masks"
    masks.mkdir()
    # of each cat 30 pixels are found and 20 left open; of the background 10 are left open
    found = columns((1, 30), (IGNORE, 30), (0, 40)).astype(np.uint8)
    for name in NAMES:
        save_mask(masks / f"{name}.png", found)
    evaluate_masks(tmp_path, masks=masks, data=data, split="val")
    metrics = load_metrics(tmp_path)
    assert metrics["coverage"] == pytest.approx(0.7)
    assert metrics["iou_cat"] == pytest.approx(30 / 50)
    assert metrics["iou_background"] == pytest.approx(40 / 50)
    assert metrics["miou"] == pytest.approx(0.7)
    assert metrics["miou_labelled"] == pytest.approx(1.0)
    assert json.loads((tmp_path / "confusion.json").read_text()) == [[160, 0, 40], [0, 120, 80]]


def test_masks_are_the_most_probable_label_where_it_is_sure_enough(tmp_path, data):
    share = columns((0.9, 30), (0.6, 30), (0.1, 40)).astype(np.float32)
    for name in NAMES:
        both = np.stack([1 - share, share])
        save_score(tmp_path / f"{name}.npz", both, np.array([0, 1]), bits=16)
    for confidence, expected in (
        (0.0, columns((1, 60), (0, 40))),
        (0.7, columns((1, 30), (IGNORE, 30), (0, 40))),
    ):
        pseudo_masks(tmp_path, scores=tmp_path, data=data, split="val", confidence=confidence)
        for name in NAMES:
            assert (load_mask(tmp_path / f"{name}.png") == expected).all()


# dense CRF

CRF = OmegaConf.create(
    {
        "theta_alpha": 4,
        "theta_beta": 13,
        "theta_gamma": 1,
        "w1": 3,
        "w2": 1,
        "iterations": 2,
        "engine": "auto",
    }
)


def smooth(folder, data, seeds, workers=0, area_factor=None, gt_prob=None, bits=8, **changed):
    folder.mkdir(exist_ok=True)
    crf(
        folder,
        runtime=runtime(workers),
        scores=seeds,
        data=data,
        split="val",
        parameters=OmegaConf.create({**CRF, **changed}),
        background_power=None,
        background_score=0.3,
        area_factor=area_factor,
        gt_prob=gt_prob,
        bits=bits,
    )
    return {path.name: load_score(path) for path in sorted(folder.glob("*.npz"))}


@pytest.mark.parametrize(("bits", "parts"), [(8, 200), (16, 65_000)])
def test_labels_count_as_right_with_a_given_probability(tmp_path, data, seeds, bits, parts):
    found = smooth(tmp_path / "1", data, seeds, gt_prob=0.7, bits=bits, w1=0, w2=0)  # closed form
    upper = columns((1, 50), (0, 50)).astype(bool)
    for name, (marginal, _) in found.items():
        cat = np.ones_like(upper) if name == "x0.npz" else upper
        np.testing.assert_allclose(marginal[1], np.where(cat, 0.7, 0.3), atol=0.51 / parts)


def test_one_process_and_several_smooth_alike(tmp_path, data, seeds):
    alone, shared = smooth(tmp_path / "1", data, seeds), smooth(tmp_path / "2", data, seeds, 2)
    assert list(alone) == list(shared) == [f"{name}.npz" for name in NAMES]
    for name, (marginal, keys) in alone.items():
        assert keys.tolist() == [0, 1]
        assert (marginal == shared[name][0]).all()
        assert np.abs(marginal.sum(0) - 1).max() < 1 / 200 + 1e-6


@pytest.mark.parametrize("engine", ["torch", "pydensecrf", "exact"])
def test_engines_smooth_alike(tmp_path, data, seeds, engine):
    if engine == "pydensecrf":
        pytest.importorskip("pydensecrf", reason="the reference is an extra")
    expected = smooth(tmp_path / "1", data, seeds)
    found = smooth(tmp_path / "2", data, seeds, engine=engine)
    for name, (marginal, _) in expected.items():
        assert np.abs(marginal - found[name][0]).mean() < 0.05


def test_a_gpus_batches_over_threads_smooth_alike(tmp_path, data, seeds, monkeypatch):
    expected = smooth(tmp_path / "1", data, seeds, engine="torch")
    monkeypatch.setattr(wsss_lightning.steps.crf, "gpus_of", lambda runtime: ["cpu", "cpu"])
    found = smooth(tmp_path / "2", data, seeds, workers=2, engine="torch")
    for name, (marginal, _) in expected.items():
        assert np.abs(marginal - found[name][0]).max() <= 1 / 200 + 1e-6


def test_images_that_the_gate_takes_out_keep_their_seeds_and_are_counted(tmp_path, data, seeds):
    # so strong a pull leaves one label only
    strong = {"theta_alpha": 1000, "theta_beta": 1000, "w1": 1000, "iterations": 10}
    flooded = smooth(tmp_path / "flooded", data, seeds, **strong)
    gated = smooth(tmp_path / "gated", data, seeds, workers=2, area_factor=10, **strong)
    plain = tmp_path / "plain"
    plain.mkdir()
    constant_background(plain, scores=seeds, data=data, split="val", background_score=0.3)
    kept = 0
    for name, (marginal, _) in gated.items():
        before = load_score(plain / name)[0]
        if len(np.unique(before.argmax(0))) == 1:  # nothing could be lost
            assert (marginal == flooded[name][0]).all()
        else:
            kept += 1
            assert len(np.unique(flooded[name][0].argmax(0))) == 1
            np.testing.assert_allclose(marginal, before, atol=1 / 200)
    assert kept
    share = kept / len(NAMES)
    metrics = json.loads((tmp_path / "gated/metrics.json").read_text())
    assert metrics == {"kept": share, "kept_lost": share, "kept_area": 0.0, "kept_crash": 0.0}
    assert not (tmp_path / "flooded/metrics.json").exists()


def test_an_open_gate_lets_all_refined_maps_through(tmp_path, data, seeds):
    expected = smooth(tmp_path / "1", data, seeds)
    found = smooth(tmp_path / "2", data, seeds, area_factor=1000)
    for name, (marginal, _) in expected.items():
        assert (marginal == found[name][0]).all()
    assert json.loads((tmp_path / "2/metrics.json").read_text())["kept"] == 0


def test_a_crash_of_the_engine_costs_one_image(tmp_path, data, seeds, monkeypatch):
    refine, crashed = wsss_lightning.steps.crf.mean_field_batch, []

    def crash_once(*work):
        if not crashed:
            crashed.append(True)
            raise EngineError("the process died")
        return refine(*work)

    monkeypatch.setattr(wsss_lightning.steps.crf, "mean_field_batch", crash_once)
    smooth(tmp_path / "s", data, seeds)
    metrics = json.loads((tmp_path / "s/metrics.json").read_text())
    assert metrics["kept"] == metrics["kept_crash"] == pytest.approx(1 / len(NAMES))
    assert [path.name for path in (tmp_path / "s/kept").iterdir()] == [f"{NAMES[0]}.txt"]


@pytest.mark.parametrize(
    ("changed", "facts"),
    [
        ({"engine": "fast"}, ["crf.engine", "fast", "native", "torch"]),
        ({"theta_beta": 0}, ["crf.theta_beta", 0]),
    ],
)
def test_a_crf_that_cannot_be_had_is_refused_before_work_starts(changed, facts):
    with raises_naming(InputError, *facts):
        crf_settings(OmegaConf.create({"crf": {**CRF, **changed}}).crf)


def test_smoothing_goes_on_behind_the_images_that_are_done(tmp_path, data, seeds):
    whole = smooth(tmp_path / "whole", data, seeds)
    (part := tmp_path / "part").mkdir()
    done = part / "x1.npz"
    done.write_bytes(b"not touched again")
    stamp = done.stat().st_mtime_ns
    for name in ("x0", "x2"):
        (part / f"{name}.npz").write_bytes((tmp_path / f"whole/{name}.npz").read_bytes())
    left = {path.name: path.stat().st_mtime_ns for path in part.glob("*.npz")}
    with raises_naming(ValueError, "x1.npz"):  # by this test, not the stage
        smooth(part, data, seeds)
    assert done.read_bytes() == b"not touched again"
    assert done.stat().st_mtime_ns == stamp
    for name, time in left.items():
        assert (part / name).stat().st_mtime_ns == time
    assert (load_score(part / "x3.npz")[0] == whole["x3.npz"][0]).all()


# networks


def settings_of_fit(weights):
    module = {
        "_target_": "wsss_lightning.methods.cam.module.Classifier",
        "net": {
            "_target_": "wsss_lightning.methods.cam.network.CamNet",
            "_partial_": True,
            "backbone": {
                "_target_": "wsss_lightning.nets.backbones.Backbone",
                "name": "mobilenet_v2",
                "output_stride": 16,
                "pretrained": False,
                "weights": str(weights),
                "freeze_norm": None,
                "frozen": [],
                "options": {},
            },
            "dropout": 0.0,
            "head_init": "default",
            "weights": None,
        },
        "num_classes": 1,
        "optimizer": {
            "_target_": "torch.optim.SGD",
            "_partial_": True,
            "lr": 0.01,
            "weight_decay": 0.0,
        },
        "head_lr_multiplier": 1,
        "bias_lr_multiplier": 2,
        "decay_biases": False,
        "poly_power": 0.9,
    }
    schedule = {
        "max_epochs": 1,
        "max_steps": None,
        "batch_size": 2,
        "crop_size": 32,
        "long_side": None,
        "scale": None,
        "flip": True,
        "jitter": None,
    }
    return OmegaConf.create(module), OmegaConf.create(schedule)


@pytest.fixture(scope="module")
def clip_and_round(tmp_path_factory, data):
    """A trained classifier, whose weights' file is gone; and the statistics that file held."""
    folder, weights = tmp_path_factory.mktemp("fit"), tmp_path_factory.mktemp("w") / "w.pth"
    theirs = torchvision.models.mobilenet_v2(weights=None)
    torch.nn.init.constant_(theirs.features[0][1].running_mean, 0.25)
    torch.save(theirs.state_dict(), weights)
    module, schedule = settings_of_fit(weights)
    train(folder, runtime=runtime(), module=module, data=data, schedule=schedule, target="tags")
    weights.unlink()
    return folder, theirs


@pytest.mark.parametrize(
    ("target", "changed", "watched"),
    [
        ("tags", {}, True),
        ("tags", {"val": None}, False),
        ("masks", {}, True),
        ("masks", {"val": None}, False),
    ],
)
def test_a_training_is_watched_on_val_where_there_is_one(
    data, tmp_path, monkeypatch, target, changed, watched
):
    limits = []

    class StartedError(Exception):  # before any epoch
        pass

    def fit(trainer, *_, **__):
        limits.append(trainer.limit_val_batches)
        raise StartedError

    monkeypatch.setattr("pytorch_lightning.Trainer.fit", fit)
    module, schedule = settings_of_fit(None)
    module.net.backbone.weights = None
    own = OmegaConf.merge(data, changed)
    with pytest.raises(StartedError):
        train(
            tmp_path, runtime=runtime(), module=module, data=own, schedule=schedule, target=target
        )
    assert limits == [1.0 if watched else 0]


def test_a_trained_module_is_stored_with_the_statistics_that_its_images_had(clip_and_round):
    stored = OmegaConf.load(clip_and_round[0] / "module.yaml").net.backbone
    assert (list(stored.mean), list(stored.std)) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def test_small_images_are_padded_with_the_colour_that_the_network_subtracts(
    tmp_path, data, monkeypatch
):
    module, schedule = settings_of_fit("none")
    module.net.backbone.weights = None
    module.net.backbone.mean, module.net.backbone.std = [0.1, 0.2, 0.3], [0.5, 0.5, 0.5]
    given = {}

    def transform(**how):
        given.update(how)
        raise KeyboardInterrupt  # the training itself does not matter

    monkeypatch.setattr(wsss_lightning.steps.train, "TrainTransform", transform)
    with pytest.raises(KeyboardInterrupt):
        train(
            tmp_path, runtime=runtime(), module=module, data=data, schedule=schedule, target="tags"
        )
    assert given["padding"] == (0.1, 0.2, 0.3)


def test_what_was_trained_is_loaded_without_the_weights_it_began_with(clip_and_round):
    folder, _ = clip_and_round
    method = load(folder)
    stored = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    assert not method.training
    assert method.state_dict().keys() == stored.keys()
    assert all(torch.equal(value, stored[key]) for key, value in method.state_dict().items())


def test_statistics_that_came_with_weights_are_kept_through_training_and_loading(clip_and_round):
    folder, theirs = clip_and_round
    method = load(folder)
    norm = method.net.encoder.features[0][1]
    assert torch.equal(norm.running_mean, theirs.features[0][1].running_mean)
    begun = dict(theirs.features.named_parameters())
    learnt = method.net.encoder.features.named_parameters()
    assert not all(torch.equal(value, begun[key]) for key, value in learnt)
    method.train()
    assert not norm.training


def test_a_fit_goes_on_from_the_whole_of_a_trained_module(clip_and_round, data, tmp_path):
    folder, _ = clip_and_round
    module = OmegaConf.load(folder / "module.yaml")
    module.net.backbone.weights, module.net.backbone.freeze_norm = None, True
    module.optimizer.lr = 0.0  # what is learnt on top is nothing
    _, schedule = settings_of_fit(None)
    how = {"data": data, "schedule": schedule, "target": "tags"}
    train(tmp_path, runtime=runtime(), module=module, **how, continue_from=folder, epochs_before=1)
    before, after = (
        torch.load(place / "last.ckpt", weights_only=True)["state_dict"]
        for place in (folder, tmp_path)
    )
    assert all(torch.equal(value, before[key]) for key, value in after.items())


@pytest.mark.parametrize(
    ("changed", "how", "steps", "left"),
    [
        # 2 steps an epoch; `left` is the share of the schedule that remains
        ({"max_epochs": 4}, {"stop_epoch": 3}, 6, 1 / 4),
        ({"max_epochs": 4, "max_steps": 3}, {}, 3, 0),
        ({"max_epochs": 2, "max_steps": 30}, {}, 4, 0),
    ],
)
def test_a_training_ends_where_its_schedule_says(data, tmp_path, changed, how, steps, left):
    module, schedule = settings_of_fit(None)
    module.net.backbone.weights = None
    schedule = OmegaConf.merge(schedule, changed)
    given = {"module": module, "data": data, "schedule": schedule, "target": "tags"}
    for _ in range(2):  # the second time, as after a kill behind the last checkpoint
        train(tmp_path, runtime=runtime(), **given, **how)
        stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
        assert stored["global_step"] == steps
        (optimizer,) = stored["optimizer_states"]
        rates = [group["lr"] for group in optimizer["param_groups"]]
        assert rates[0] == pytest.approx(0.01 * left**0.9, abs=1e-12)


def test_a_schedule_of_no_epochs_stores_the_network_as_it_was_given(clip_and_round, data, tmp_path):
    given = torch.load(clip_and_round[0] / "last.ckpt", weights_only=True)["state_dict"]
    net = {k.removeprefix("net."): v for k, v in given.items() if k.startswith("net.")}
    torch.save(net, tmp_path / "whole.pth")
    module, schedule = settings_of_fit(None)
    module.net.backbone.weights, module.net.weights = None, str(tmp_path / "whole.pth")
    schedule.max_epochs = 0
    folder = tmp_path / "fit"
    folder.mkdir()
    train(folder, runtime=runtime(), module=module, data=data, schedule=schedule, target="tags")
    assert {path.name for path in folder.iterdir()} == {"module.yaml", "last.ckpt"}
    (tmp_path / "whole.pth").unlink()
    kept = load(folder).net.state_dict()
    assert all(torch.equal(value, net[key]) for key, value in kept.items())


def test_images_come_in_another_order_behind_epochs_that_were_trained_before(
    data, monkeypatch, tmp_path
):
    seeds = []

    def listen(data, runtime, **how):
        seeds.append(how.get("seed"))
        raise InterruptedError

    monkeypatch.setattr(wsss_lightning.steps.train, "data_module", listen)
    module, schedule = settings_of_fit(None)
    module.net.backbone.weights = None
    for epochs in (0, 4):
        with pytest.raises(InterruptedError):
            train(
                tmp_path,
                runtime=runtime(),
                module=module,
                data=data,
                schedule=schedule,
                target="tags",
                epochs_before=epochs,
            )
    assert seeds[1] == seeds[0] + 4


def test_a_network_that_was_given_whole_is_loaded_without_its_file(tmp_path):
    module, _ = settings_of_fit("gone.pth")
    module._target_ = "wsss_lightning.methods.seam.module.SEAM"
    del module.net.head_init
    module.net.update(
        {
            "_target_": "wsss_lightning.methods.seam.network.SeamNet",
            "feature_layers": [-3, -2],
            "feature_channels": [4, 4],
            "embedding": 8,
            "block_mib": 16,
            "weights": None,
        }
    )
    module.net.backbone.weights = None
    for key in ("scale", "min_pooling_weight", "er_weight", "ecr_weight", "hard_fraction"):
        module[key] = 0.5
    torch.save({"state_dict": instantiate(module).state_dict()}, tmp_path / "last.ckpt")
    module.net.weights = "gone.pth"
    OmegaConf.save(module, tmp_path / "module.yaml")
    assert not load(tmp_path).training


def cam_settings(**how):
    usual = {
        "scales": [1.0],
        "flip": False,
        "long_side": 33,
        "layer": None,
        "tags": "given",
        "storage_bits": 8,
        "batch_size": 3,
    }
    return OmegaConf.create({**usual, **how})


@pytest.mark.parametrize("layer", [None, "encoder"])
def test_scores_are_written_for_every_image_that_is_left(tmp_path, data, clip_and_round, layer):
    (tmp_path / "x3.npz").write_bytes(b"not touched again")
    cams(
        tmp_path,
        runtime=runtime(),
        trained=clip_and_round[0],
        data=data,
        split="val",
        settings=cam_settings(layer=layer),
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{name}.npz" for name in NAMES]
    assert (tmp_path / "x3.npz").read_bytes() == b"not touched again"
    assert load_score(tmp_path / "x0.npz")[0].shape[1:] == (SIDE, SIDE)


def test_strided_cams_are_stored_with_irns_alignment_and_an_interrupted_stage_goes_on(
    tmp_path, data, clip_and_round
):
    how = {"trained": clip_and_round[0], "data": data, "split": "val"}
    irn = cam_settings(alignment="irn", normalisation="max")
    cams(tmp_path, runtime=runtime(), **how, settings=irn)
    whole = {name: load_strided(tmp_path / f"{name}.npz") for name in NAMES}
    for name, maps in whole.items():
        score, keys = load_score(tmp_path / f"{name}.npz")
        assert maps.shape == (len(keys), -(-SIDE // 4), -(-SIDE // 4))
        assert score.shape[1:] == (SIDE, SIDE)
    (tmp_path / "x1.npz").unlink()
    cams(tmp_path, runtime=runtime(), **how, settings=irn)
    np.testing.assert_allclose(load_strided(tmp_path / "x1.npz"), whole["x1"], atol=1e-6)


def test_the_figures_of_the_tags_are_left(tmp_path, data, clip_and_round):
    validate_tags(tmp_path, runtime=runtime(), trained=clip_and_round[0], data=data, long_side=None)
    assert set(load_metrics(tmp_path)) == {"loss", "map", "f1"}
    assert load_metrics(tmp_path)["map"] == 1  # every image is tagged


def test_probabilities_of_tags_are_those_of_the_classifier_and_an_interrupted_stage_goes_on(
    tmp_path, data
):
    trained, folder = trained_classifier(tmp_path / "net"), tmp_path / "probabilities"
    folder.mkdir()
    # left by an interrupted run: it is believed, not made again
    (folder / "part-0.csv").write_text("x2,0.25\nx3,0.75\n")
    how = {"trained": trained, "data": data, "split": "val", "long_side": 33, "batch_size": 2}
    tag_probabilities(folder, runtime=runtime(), **how)
    assert [path.name for path in folder.iterdir()] == ["probabilities.csv"]
    found = load_probabilities(folder / "probabilities.csv")
    assert list(found) == NAMES
    images = torch.stack([instantiate(data.dataset)(split="val")[i]["image"] for i in range(4)])
    with torch.no_grad():
        logits = load(trained)(view_of(images, 33 / SIDE, "aligned", 16))
    expected = (1 / (1 + (-logits).exp())).flatten().tolist()
    expected[2:] = 0.25, 0.75
    assert [of_image["cat"] for of_image in found.values()] == pytest.approx(expected, abs=1e-5)


# pictures


def test_a_sheet_shows_evenly_chosen_images(tmp_path, data, seeds):
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("x0", "x3"):  # of the four, the two ends
        save_mask(masks / f"{name}.png", np.ones((SIDE, SIDE), np.uint8))
    previews(tmp_path, data=data, split="val", count=2, seeds=seeds, steps={"pseudo": masks})
    page = Image.open(tmp_path / "val.png")
    assert page.width > 4 * 160
    assert page.height > 2 * 160


def test_true_masks_that_change_change_the_digest_of_the_data(tmp_path):
    truth = columns((1, 50), (0, 50)).astype(np.uint8)
    data = write_set(tmp_path / "set", dict.fromkeys(NAMES, truth))
    before = check_data(data)
    assert check_data(data) == before
    save_mask(tmp_path / f"set/SegmentationClass/{NAMES[0]}.png", 1 - truth)
    mended = check_data(data)
    (tmp_path / f"set/SegmentationClass/{NAMES[0]}.png").unlink()
    assert len({before, mended}) == 2


def test_data_without_a_validation_split_are_checked_and_have_a_digest(data, capfd):
    alone = check_data(OmegaConf.merge(data, {"val": None}))
    assert alone.split("-")[0] == check_data(data).split("-")[0]  # of the same images to learn from
    assert alone != check_data(data)
    capfd.readouterr()
    check_data(OmegaConf.merge(data, {"val": None}))
    assert_names(capfd.readouterr().out, "validation split")
    check_data(OmegaConf.merge(data, {"val": "train"}))
    assert_names(capfd.readouterr().out, "data.val", "train")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that is missed")
def test_a_trainer_that_the_machine_cannot_run_is_answered_with_one_that_it_can():
    gpu = OmegaConf.create(
        {"_target_": "pytorch_lightning.Trainer", "_partial_": True, "accelerator": "gpu"}
    )
    with pytest.raises(InputError, match="trainer=auto"):
        build_trainer(Runtime(gpu, OmegaConf.create({}), 0), "fit")


# sub-categories


def trained_classifier(folder):
    """A network of chance, as `fit` leaves it."""
    module = OmegaConf.create(
        {
            "_target_": "wsss_lightning.methods.cam.module.Classifier",
            "net": {
                "_target_": "wsss_lightning.methods.cam.network.CamNet",
                "_partial_": True,
                "backbone": {
                    "_target_": "wsss_lightning.nets.backbones.Backbone",
                    "name": "test_resnet",
                    "output_stride": 16,
                    "pretrained": False,
                    "weights": None,
                    "freeze_norm": None,
                    "frozen": [],
                    "options": {},
                },
                "dropout": 0.0,
                "head_init": "default",
                "weights": None,
            },
            "num_classes": 1,
            "optimizer": {
                "_target_": "torch.optim.SGD",
                "_partial_": True,
                "lr": 0.1,
                "weight_decay": 0.0,
            },
            "head_lr_multiplier": 1,
            "bias_lr_multiplier": 2,
            "decay_biases": False,
            "poly_power": 0.9,
        }
    )
    folder.mkdir()
    OmegaConf.save(module, folder / "module.yaml")
    torch.save({"state_dict": instantiate(module).state_dict()}, folder / "last.ckpt")
    return folder


CAM = OmegaConf.create({"long_side": 33, "alignment": "aligned", "batch_size": 2})


def test_features_are_the_pooled_maps_and_an_interrupted_stage_goes_on(tmp_path, data):
    trained = trained_classifier(tmp_path / "net")
    how = {"trained": trained, "data": data, "split": "val", "settings": CAM, "peak": None}
    folder = tmp_path / "features"
    folder.mkdir()
    # left by an interrupted run: it is believed, not made again
    width = load(trained).net.head.in_channels
    believed = Features(["x2", "x3"], np.zeros(2, int), np.full((2, width), 7, np.float32))
    save_features(folder / "part-x2.npz", believed)
    features(folder, runtime=runtime(), **how)
    names, _, found = load_features(folder / "features.npz")
    assert names == NAMES
    assert (found[2:] == 7).all()
    module = load(trained)
    images = torch.stack([instantiate(data.dataset)(split="val")[i]["image"] for i in range(4)])
    with torch.no_grad():
        view = view_of(images, 33 / max(images.shape[-2:]), "aligned", 16)
        expected = module.net.features(view).mean((-2, -1))
    np.testing.assert_allclose(found[:2], expected[:2], rtol=1e-4)


def test_features_of_official_views_are_those_of_the_image_at_its_own_size(tmp_path, data):
    # extract_feature.py of SC-CAM
    trained, folder = trained_classifier(tmp_path / "net"), tmp_path / "features"
    folder.mkdir()
    seen = OmegaConf.create({"long_side": None, "alignment": "psa", "batch_size": 2})
    how = {"trained": trained, "data": data, "split": "val", "settings": seen, "peak": None}
    features(folder, runtime=runtime(), **how)
    _, _, found = load_features(folder / "features.npz")
    images = torch.stack([instantiate(data.dataset)(split="val")[i]["image"] for i in range(4)])
    with torch.no_grad():
        expected = load(trained).net.features(images).mean((-2, -1))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_clusters_are_numbered_stored_and_judged(tmp_path, data):
    stored, folder = tmp_path / "features", tmp_path / "clusters"
    stored.mkdir()
    folder.mkdir()
    rows = np.array([[0, 0], [9, 9], [0, 1], [9, 8]], np.float32)
    save_features(stored / "features.npz", Features(NAMES, np.full(4, ABSENT), rows))
    how = {"algorithm": "kmeans", "n_init": 3, "max_iter": 10, "stability": 2}
    table = tmp_path / "subcategories.csv"
    table.write_text("name,class,subcategory\n" + "".join(f"x{i},cat,{i // 2}\n" for i in range(4)))
    told = OmegaConf.merge(data, {"subcategories": str(table)})
    settings = OmegaConf.create(how)
    cluster(folder, features=stored, data=told, split="val", count=2, clusters=settings)
    (report,) = json.loads((folder / "classes.json").read_text()).values()
    assert report["sizes"] == [2, 2]
    assert report["stability"] == 1
    metrics = load_metrics(folder)
    assert metrics["recovery"] == pytest.approx(-0.5)  # each cluster has one of each look
    assert metrics["silhouette"] > 0.8
    lines = (folder / "clusters.csv").read_text().splitlines()
    numbers = [line.split(",")[-1] for line in lines[1:]]
    assert lines[0] == "name,class,cluster"
    assert numbers[0] == numbers[2] != numbers[1] == numbers[3]
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    cluster_previews(sheets, features=stored, clusters=folder, data=data, split="val")
    with Image.open(sheets / "cat.png") as page:
        assert page.width > 8 * 100
    found = load_sub_tags(folder)
    assert found["x0"].tolist() == found["x2"].tolist() != found["x1"].tolist()
    assert found["x0"].sum() == 1
