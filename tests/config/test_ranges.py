"""Values of a composed configuration, out of range one at a time."""

from functools import cache

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import wsss_lightning.cli.run  # noqa: F401 (registers the schema and resolvers)
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.config.ranges import (
    STRIDED,
    check_loggers,
    check_node,
    check_seeds,
    check_values,
)
from wsss_lightning.config.schema import Schedule
from wsss_lightning.config.targets import check_targets
from wsss_lightning.errors import InputError
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.ops import alignment


@cache
def _composed(words):
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=list(words))


def composed(*words):
    return _composed(words).copy()


def changed(key, value, *words):
    cfg = composed(*(words or ["experiment=cam"]))
    OmegaConf.set_struct(cfg, False)
    OmegaConf.update(cfg, key, value, force_add=True, merge=False)
    return cfg


def message_of(cfg):
    with pytest.raises(InputError) as error:
        check_values(cfg)
    return str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "facts"),
    [
        ("seeds.background_score", 1.5, ["[0, 1]", "0.15 to 0.3"]),
        ("seeds.background_score", -0.1, ["[0, 1]"]),
        ("seeds.held_out", 0.8, ["[0, 0.5]"]),
        ("seeds.thresholds", 1, ["2 or more"]),
        ("pseudo.confidence", 1.1, ["[0, 1]"]),
        ("pseudo.box_min_fill", -0.1, ["[0, 1]"]),
        ("pseudo.drop_worst", 1.0, ["[0, 1)"]),
        ("fit.method.max_epochs", -1, ["0 or more"]),
        ("fit.method.max_steps", 0, ["1 or more", "null"]),
        ("fit.segmenter.batch_size", 0, ["1 or more"]),
        ("fit.segmenter.crop_size", -1, ["1 or more"]),
        ("fit.segmenter.init_from", "resnet18", ["backbone or classifier"]),
        ("fit.segmenter.jitter.hue", 0.7, ["[0, 0.5]"]),
        ("fit.segmenter.jitter.contrast", -1.0, ["0 or more"]),
        ("num_previews", 0, ["1 or more"]),
        ("workers", -1, ["0 or more"]),
        ("checkpoint_minutes", -1.0, ["0 or more", "null"]),
        ("device_groups", 2, ["groups of device numbers"]),
        ("device_groups", [], ["groups of device numbers"]),
        ("device_groups", [0, 1], ["groups of device numbers"]),
        ("device_groups", [[0], [0]], ["each number in one group"]),
        ("device_groups", [[-1]], ["groups of device numbers"]),
        ("device_groups", [["a"]], ["groups of device numbers"]),
        ("device_groups", [[]], ["groups of device numbers"]),
        ("cam.storage_bits", 12, ["8 or 16"]),
        ("cam.tags", "guessed", ["given or predicted"]),
        ("cam.alignment", "seam", ["aligned or irn or psa"]),
        ("cam.normalisation", "sum", ["min_max or max"]),
        ("cam.scales", [], ["at least one"]),
        ("cam.batch_size", 0, ["1 or more"]),
        ("test.scales", [1.0, 0.0], ["above 0"]),
        ("test.long_side", 0, ["1 or more", "null"]),
        ("data.num_classes", "two", ["whole number"]),
        ("refine.labels.gt_prob", 1, ["(0, 1)"]),
        ("pipeline.clusters.algorithm", "dbscan", ["kmeans or minibatch"]),
    ],
)
def test_a_value_out_of_range_is_named_with_the_range(key, value, facts):
    words = {
        "refine": ["experiment=cam", "refine=affinity"],
        "pipeline": ["experiment=sc_cam"],
    }.get(key.partition(".")[0], ["experiment=cam"])
    check_values(composed(*words))
    message = message_of(changed(key, value, *words))
    assert message.startswith(f"{key} is {value}")
    for fact in facts:
        assert fact in message


@pytest.mark.parametrize("name", ["fit.method", "fit.segmenter"])
@pytest.mark.parametrize("key", ["long_side", "scale"])
@pytest.mark.parametrize("value", [64, "large", [64], [96, 64], [0, 64], ["a", "b"], [1, 2, 3]])
def test_a_range_of_sizes_is_two_numbers(name, key, value):
    message = message_of(changed(f"{name}.{key}", value))
    assert f"{name}.{key} is {value}" in message
    assert "two positive numbers" in message


def test_only_one_key_gives_the_size():
    cfg = changed("fit.method.long_side", [48, 64])
    cfg.fit.method.scale = [0.5, 1.5]
    message = message_of(cfg)
    assert "fit.method.long_side is [48, 64]" in message
    assert "fit.method.scale is [0.5, 1.5]" in message


@pytest.mark.parametrize("scale", [None, [0.5, 1.5]])
@pytest.mark.parametrize("step", [0.3, 2.0])
def test_a_step_of_scales_leads_from_the_smallest_to_the_largest(scale, step):
    cfg = changed("fit.segmenter.scale", scale)
    cfg.fit.segmenter.scale_step = step
    message = message_of(cfg)
    assert f"fit.segmenter.scale_step is {step}" in message
    assert f"fit.segmenter.scale is {scale or 'null'}" in message
    for fine in ([0.5, 1.5], [0.75, 1.0], [0.7, 1.45]):
        cfg.fit.segmenter.update({"scale": fine, "scale_step": 0.25})
        check_values(cfg)


@pytest.mark.parametrize("step", [0, -0.25])
def test_a_step_of_scales_is_positive(step):
    message = message_of(changed("fit.segmenter.scale_step", step))
    assert "fit.segmenter.scale_step is" in message
    assert "above 0" in message


HSV = {"hue": 0.1, "saturation": 0.1, "value": 0.1}


@pytest.mark.parametrize(
    ("part", "value", "bounds"),
    [("hue", 0.6, "[0, 0.5]"), ("value", 1.5, "[0, 1]"), ("saturation", -0.1, "[0, 1]")],
)
def test_shifts_of_hsv_have_a_range(part, value, bounds):
    cfg = composed("experiment=seam_voc2012", "data.root=x")
    cfg.fit.segmenter = OmegaConf.merge(cfg.fit.segmenter, {"hsv_jitter": HSV})
    check_values(cfg)
    cfg.fit.segmenter.hsv_jitter[part] = value
    message = message_of(cfg)
    assert f"fit.segmenter.hsv_jitter.{part} is {value}" in message
    assert bounds in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("jitter", "strong"),
        ("jitter", [0.1, 0.1]),
        ("hsv_jitter", 0.1),
        ("hsv_jitter", {"hue": 0.1}),
        ("hsv_jitter", {"hue": 0, "saturation": 0, "valeu": 0}),
        ("max_epochs", None),
        ("batch_sise", 3),
    ],
)
def test_a_schedule_that_omegaconf_does_not_type_is_checked_too(key, value):
    words = ["experiment=cam", "refine=affinity"]
    check_values(composed(*words))
    message = message_of(changed(f"refine.schedule.{key}", value, *words))
    assert message.startswith(f"refine.schedule.{key}")


@pytest.mark.parametrize(
    ("schedule", "module", "words"),
    [
        ("fit.method", "method", ["experiment=cam"]),
        ("fit.segmenter", "segmenter", ["experiment=cam"]),
        ("refine.schedule", "refine.module", ["experiment=cam", "refine=affinity"]),
        ("pipeline.first_schedule", "pipeline.first", ["experiment=sc_cam"]),
    ],
)
def test_a_training_without_epochs_needs_a_whole_network(schedule, module, words):
    plain = OmegaConf.to_container(OmegaConf.select(composed(*words), schedule), resolve=True)
    cfg = composed(*words)
    if schedule.startswith("fit."):
        OmegaConf.update(cfg, f"{schedule}.max_epochs", 0)
    else:  # which may be a reference to fit.method
        cfg = changed(schedule, {**plain, "max_epochs": 0}, *words)
    OmegaConf.update(cfg, "refine.init_from", "backbone", force_add=True)
    cfg.fit.segmenter.init_from = "backbone"
    message = message_of(cfg)
    assert f"{schedule}.max_epochs is 0" in message
    assert f"{module}.net.weights" in message
    OmegaConf.update(cfg, f"{module}.net.weights", "released.pth", force_add=True)
    check_values(cfg)


@pytest.mark.parametrize(
    ("choice", "word", "module", "words"),
    [
        ("fit.segmenter.init_from", "classifier", "segmenter", ["experiment=cam"]),
        (
            "refine.init_from",
            "classifier",
            "refine.module",
            ["experiment=cam", "refine=affinity"],
        ),
        ("pipeline.init_from", "last_round", "method", ["experiment=sc_cam"]),
    ],
)
def test_the_encoder_of_a_whole_network_is_not_replaced(choice, word, module, words):
    cfg = changed(choice, word, *words)
    check_values(cfg)
    OmegaConf.update(cfg, f"{module}.net.weights", "released.pth", force_add=True)
    message = message_of(cfg)
    for fact in ("released.pth", f"{choice} is {word}", f"{choice} to backbone"):
        assert fact in message


@pytest.mark.parametrize("stops", [3, [3], [3, 99, 3], [3, 0, 3], [3, True, 3], [3, "a", 3]])
def test_each_round_of_sc_cam_stops_within_its_schedule(stops):
    check_values(changed("pipeline.stop_epochs", [1, 2, 3], "experiment=sc_cam"))
    message = message_of(changed("pipeline.stop_epochs", stops, "experiment=sc_cam"))
    assert "pipeline.stop_epochs is" in message
    assert "pipeline.rounds" in message


def test_choices_of_cams_are_those_that_methods_know():
    for name in ("tags", "alignment", "normalisation"):
        message = message_of(changed(f"cam.{name}", "?"))
        for word in message.partition("must be ")[2].rstrip(".").split(" or "):
            assert getattr(CamSettings(**{name: word}), name) == word
    assert STRIDED == alignment.STRIDED


@pytest.mark.parametrize(
    ("chosen", "stride", "refused"),
    [("irn", 8, True), ("irn", 4, False), ("psa", 8, False), ("aligned", 8, False)],
)
def test_strided_cams_must_fit_the_network_that_refines_them(chosen, stride, refused):
    cfg = changed("refine.module.net.stride", stride, "experiment=cam", "refine=irn")
    cfg.cam.alignment = chosen
    if not refused:
        return check_values(cfg)
    message = message_of(cfg)
    assert "refine.module.net.stride is 8" in message
    assert "cam.alignment" in message


def test_maps_of_sub_categories_need_a_method_that_has_them():
    assert "cam.sub_maps is true" in message_of(changed("cam.sub_maps", True))


def test_the_head_has_an_output_for_every_class():
    cfg = composed("experiment=cam")
    cfg.data.dataset.classes = ["cat", "dog"]
    message = message_of(cfg)
    assert "data.num_classes is 6" in message
    assert "cat, dog" in message
    assert "method.num_classes is 3" in message_of(changed("method.num_classes", 3))


UNTYPED = {
    "experiment=grabcut_ignore": [
        *("box_labels.inner", "box_labels.min_fill", "box_labels.jitter", "box_labels.agree"),
        *("box_labels.context", "box_labels.runs", "box_labels.iterations"),
        *("relabel.min_fill", "relabel.label_confidence"),
    ],
    "experiment=cam": ["refine.area_factor", "data.num_classes"],
}


@pytest.mark.parametrize("experiment", UNTYPED)
def test_values_of_any_other_type_are_answered_with_a_message(experiment):
    """Every key of a group, with values of every other type."""
    answers = 0
    for key in UNTYPED[experiment]:
        for value in ("fast", -1, True, [1, "b"], ["a"], [], {"a": 1}, {}):
            cfg = changed(key, value, experiment)
            try:
                check_values(cfg)
                check_targets(cfg, without=("data",))
            except OmegaConfBaseException:  # which the command line prints, too
                answers += 1
            except InputError as error:
                assert str(error).startswith(key)  # noqa: PT017
                answers += 1
    assert answers >= 7 * len(UNTYPED[experiment])


@pytest.mark.parametrize(
    ("key", "value", "facts", "words"),
    [
        ("pipeline.rounds", -1, ["0 or more"], ["experiment=box"]),
        ("pipeline.min_change", 1.5, ["[0, 1]", "null"], ["experiment=box"]),
        ("pipeline.training", "again", ["scratch or finetune"], ["experiment=box"]),
        ("pipeline.epochs", 0, ["1 or more"], ["experiment=box"]),
        ("pipeline.rounds", 0, ["1 or more"], ["experiment=sc_cam"]),
        ("pipeline.init_from", "classifier", ["backbone or last_round"], ["experiment=sc_cam"]),
        ("pipeline.peak", 1.5, ["[0, 1]"], ["experiment=sc_cam"]),
        ("refine.area_factor", 0.5, ["1 or more"], ["experiment=cam"]),
        ("refine.init_from", "x", ["backbone or classifier"], ["experiment=cam", "refine=irn"]),
    ],
)
def test_ranges_of_pipelines_and_refiners_are_those_of_their_signatures(key, value, facts, words):
    check_targets(composed(*words), without=("data",))
    with pytest.raises(InputError) as error:
        check_targets(changed(key, value, *words), without=("data",))
    for fact in (f"{key} is {value}", *facts):
        assert fact in str(error.value)


@pytest.mark.parametrize("value", [-1, 2**32, 5_000_000_000, 1.5, 1e5, "2**32", True, [1]])
@pytest.mark.parametrize("key", ["seed", "data.generate.seed"])
def test_a_seed_that_generators_do_not_accept_is_refused_with_the_range(key, value):
    cfg = OmegaConf.create({})
    OmegaConf.update(cfg, key, value, force_add=True)
    with pytest.raises(InputError, match=rf"^{key} is .*\[0, 4294967295\]"):
        check_seeds(cfg)


def test_all_seeds_of_32_bits_are_accepted():
    data = {"generate": {"seed": 0}}
    check_seeds(OmegaConf.create({"seed": 2**32 - 1, "data": data, "seeds": {"held_out": 0.5}}))


def test_a_logger_with_a_folder_of_its_own_is_refused():
    check_loggers(OmegaConf.create({"logger": {"csv": {"name": "csv"}}}))
    with pytest.raises(InputError, match=r"logger\.csv\.save_dir is /x.*output_dir=DIR"):
        check_loggers(OmegaConf.create({"logger": {"csv": {"name": "csv", "save_dir": "/x"}}}))


def test_a_key_that_is_not_set_is_named():
    with pytest.raises(InputError, match=r"a\.max_epochs is not set"):
        check_node(OmegaConf.create({"max_epochs": "???"}), Schedule, "a")
