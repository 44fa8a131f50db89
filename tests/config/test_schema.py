import pytest
from facts import assert_names, raises_naming
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wsss_lightning.config.schema import (
    SCORE_WORDS,
    STRIDED,
    check_loggers,
    check_seeds,
    check_targets,
    check_values,
    normalise_splits,
    splits_of,
)
from wsss_lightning.errors import InputError
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.ops import alignment

BACKBONE = {
    "_target_": "wsss_lightning.nets.backbones.Backbone",
    "name": "resnet18",
    "output_stride": 16,
    "pretrained": False,
    "weights": None,
    "freeze_norm": None,
    "frozen": [],
    "options": {},
}
OPTIMISER = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}


def config(**nodes):
    return OmegaConf.create(nodes)


def without(node, *names):
    return {key: value for key, value in node.items() if key not in names}


@pytest.mark.parametrize(
    "node",
    [
        BACKBONE,
        OPTIMISER,
        {"_target_": "pytorch_lightning.Trainer", "_partial_": True, "devices": 1},
        {"_target_": "pytorch_lightning.loggers.CSVLogger", "_partial_": True, "name": ""},
        {"plain": 1},
    ],
)
def test_what_can_be_built_passes(node):
    check_targets(config(part=node, parts=[node, {"deep": node}]))


def test_a_misspelt_parameter_is_answered_with_the_nearest():
    cfg = config(net={"backbone": {**BACKBONE, "outptu_stride": 8}})
    with raises_naming(
        InputError,
        "net.backbone.outptu_stride",
        "wsss_lightning.nets.backbones.Backbone",
        "output_stride",
    ):
        check_targets(cfg)


def test_a_partials_parameters_are_checked_too():
    with raises_naming(InputError, "optimizer.weigth_decay", "weight_decay"):
        check_targets(config(optimizer={**OPTIMISER, "weigth_decay": 0.1}))


def test_a_parameter_that_is_needed_and_not_set_is_named():
    with raises_naming(InputError, "backbone.weights", "wsss_lightning.nets.backbones.Backbone"):
        check_targets(config(backbone=without(BACKBONE, "weights")))


def test_a_partial_may_leave_to_its_caller_what_it_needs():
    check_targets(config(backbone={**without(BACKBONE, "weights"), "_partial_": True}))


def test_a_mark_of_what_is_missing_counts_as_not_set():
    with raises_naming(InputError, "backbone.weights"):
        check_targets(config(backbone={**BACKBONE, "weights": "???"}))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "torch.hub.load",
        "wsss_lightning_evil.run",
        "wsss_lightning",
        "torch.optimal.Adam",
        # what allowed modules import is not theirs
        "wsss_lightning.cache.stage_cache.shutil",
        "wsss_lightning.steps.stages.instantiate",
        "wsss_lightning.steps.stages.partial",
        "wsss_lightning.steps.stages.ProcessPoolExecutor",
        "wsss_lightning.cache.stage_cache.os.system",
        # ours, but nothing that configuration should call
        "wsss_lightning.utils.files.write_json",
        "wsss_lightning.utils.files.write_atomically",
        "wsss_lightning.pipelines.base.Stages",
        "pytorch_lightning.core.saving.load_hparams_from_yaml",
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_configuration_does_not_build_what_it_likes(target, nested):
    node = {"_target_": target}
    cfg = config(a=[1, {"b": [node]}]) if nested else config(a=node)
    place = "a[1].b[0]" if nested else "a"
    with raises_naming(InputError, f"{place}._target_", target):
        check_targets(cfg)


def test_a_constant_is_no_target():
    with raises_naming(InputError, "IRN_MARK"):
        check_targets(config(a={"_target_": "wsss_lightning.nets.weights.IRN_MARK"}))


def test_a_misspelt_class_is_answered_with_the_nearest():
    with raises_naming(InputError, "Backbon", "Backbone"):
        check_targets(config(a={**BACKBONE, "_target_": BACKBONE["_target_"][:-1]}))


def test_a_module_that_is_not_there_is_named():
    with raises_naming(InputError, "wsss_lightning.nets.bakcbones"):
        check_targets(config(a={"_target_": "wsss_lightning.nets.bakcbones.Backbone"}))


@pytest.mark.parametrize(
    ("node", "facts"),
    [
        ({**OPTIMISER, "lr": "fast"}, ["a.lr", "fast", "torch.optim.SGD", "number"]),
        ({**OPTIMISER, "nesterov": 1}, ["a.nesterov", 1, "torch.optim.SGD", "true", "false"]),
        ({**BACKBONE, "output_stride": 16.5}, ["a.output_stride", 16.5, "whole number"]),
        ({**BACKBONE, "name": None}, ["a.name", "null", "Backbone"]),
        ({**BACKBONE, "frozen": "conv1"}, ["a.frozen", "conv1", "list"]),
        ({**BACKBONE, "frozen": [1]}, ["a.frozen", "[1]", "list"]),
        ({**BACKBONE, "options": 3}, ["a.options", 3]),
        ({**BACKBONE, "weights": [1]}, ["a.weights", "[1]", "null"]),
        ({"_target_": "pytorch_lightning.Trainer", "precision": "half"}, ["a.precision", "half"]),
        ({**OPTIMISER, "_args_": [1]}, ["a._args_"]),
    ],
)
def test_a_value_of_another_type_is_answered_with_the_one_expected(node, facts):
    with raises_naming(InputError, *facts):
        check_targets(config(a=node))


# values

GOOD = {
    "data": {"num_classes": 2, "dataset": {"classes": ["cat", "dog"]}},
    "seeds": {"background_score": 0.2, "thresholds": 11, "held_out": 0.1},
    "pseudo": {"confidence": 0.0},
    "seed": 0,
    "workers": 0,
    "num_previews": 1,
    "device_groups": None,
    "fit": {
        name: {"max_epochs": 1, "batch_size": 1, "crop_size": 32}
        for name in ("method", "segmenter")
    },
    "cam": {
        "storage_bits": 8,
        "scales": [1.0],
        "tags": "given",
        "alignment": "aligned",
        "normalisation": "min_max",
        "batch_size": 1,
        "long_side": None,
        "sub_maps": False,
    },
    "test": {"scales": [1.0], "long_side": None, "batch_size": 1},
    "method": {"_target_": "wsss_lightning.methods.cam.module.Classifier"},
}

GOOD["fit"]["segmenter"]["init_from"] = "backbone"


def test_values_in_range_pass():
    check_values(OmegaConf.create(GOOD))


@pytest.mark.parametrize(
    ("key", "value", "facts"),
    [
        ("seeds.background_score", 1.5, ["[0, 1]"]),
        ("seeds.background_score", -0.1, ["[0, 1]"]),
        ("seeds.held_out", 2, ["[0, 1]"]),
        ("seeds.held_out", 0.8, []),
        ("seeds.thresholds", 1, [2]),
        ("pseudo.confidence", 1.1, []),
        ("fit.method.max_epochs", 0, []),
        ("fit.segmenter.batch_size", 0, []),
        ("fit.segmenter.crop_size", -1, []),
        ("fit.segmenter.init_from", "resnet18", ["backbone", "classifier"]),
        ("device_groups", 2, []),
        ("device_groups", [], []),
        ("device_groups", [0, 1], []),
        ("device_groups", [[0], [0]], []),
        ("device_groups", [[-1]], []),
        ("device_groups", [["a"]], []),
        ("device_groups", [[]], []),
        ("cam.storage_bits", 12, [8, 16]),
        ("cam.sub_maps", True, ["method=classifier"]),
        ("cam.tags", "guessed", ["given", "predicted"]),
        ("cam.alignment", "seam", ["aligned", "irn", "psa"]),
        ("cam.normalisation", "sum", ["min_max", "max"]),
        ("cam.scales", [], []),
        ("cam.batch_size", 0, []),
        ("test.scales", [1.0, 0.0], []),
        ("test.long_side", 0, ["null"]),
    ],
)
def test_a_value_out_of_range_is_named_with_the_range(key, value, facts):
    cfg = OmegaConf.create(GOOD)
    OmegaConf.update(cfg, key, value)
    with raises_naming(InputError, key, value, *facts):
        check_values(cfg)


@pytest.mark.parametrize(
    ("schedule", "module"),
    [
        ("fit.method", "method"),
        ("fit.segmenter", "segmenter"),
        ("refine.schedule", "refine.module"),
        ("pipeline.first_schedule", "pipeline.first"),
    ],
)
def test_no_epochs_need_a_network_that_is_given_whole(schedule, module):
    cfg = OmegaConf.create(GOOD)
    OmegaConf.update(cfg, f"{schedule}.max_epochs", 0, force_add=True)
    with raises_naming(InputError, f"{schedule}.max_epochs", 0, f"{module}.net.weights"):
        check_values(cfg)
    OmegaConf.update(cfg, f"{module}.net.weights", "released.pth", force_add=True)
    check_values(cfg)
    OmegaConf.update(cfg, f"{schedule}.max_epochs", -1)
    with raises_naming(InputError, f"{schedule}.max_epochs", -1):
        check_values(cfg)


@pytest.mark.parametrize(
    ("choice", "word", "module", "mend"),
    [
        ("fit.segmenter.init_from", "classifier", "segmenter", "backbone"),
        ("refine.init_from", "classifier", "refine.module", "backbone"),
        ("pipeline.init_from", "last", "method", "initial"),
    ],
)
def test_the_encoder_of_a_whole_network_is_not_replaced(choice, word, module, mend):
    cfg = OmegaConf.create(GOOD)
    OmegaConf.update(cfg, choice, word, force_add=True)
    check_values(cfg)
    OmegaConf.update(cfg, f"{module}.net.weights", "released.pth", force_add=True)
    with raises_naming(InputError, "released.pth", choice, word, mend):
        check_values(cfg)


def test_words_of_a_reading_are_those_that_methods_know():
    for name, words in SCORE_WORDS.items():
        for word in words:
            assert getattr(CamSettings(**{name: word}), name) == word
    assert SCORE_WORDS["alignment"] == alignment.ALIGNMENTS
    assert STRIDED == alignment.STRIDED


@pytest.mark.parametrize(
    ("chosen", "stride", "refused"),
    [("irn", 8, True), ("irn", 4, False), ("psa", 8, False), ("aligned", 8, False)],
)
def test_strided_cams_must_fit_the_network_that_they_walk_in(chosen, stride, refused):
    cfg = OmegaConf.create(GOOD)
    cfg.cam.alignment = chosen
    cfg.refine = {"module": {"net": {"stride": stride}}}
    if not refused:
        return check_values(cfg)
    with raises_naming(InputError, "refine.module.net.stride", 8, "irn"):
        check_values(cfg)


def test_there_is_an_output_of_the_head_for_every_class():
    cfg = OmegaConf.create(GOOD)
    cfg.data.num_classes = 3
    with raises_naming(InputError, "num_classes", 3, "data.dataset.classes", 2, "cat", "dog"):
        check_values(cfg)


@pytest.mark.parametrize("name", ["fit.method", "fit.segmenter"])
@pytest.mark.parametrize("key", ["long_side", "scale"])
@pytest.mark.parametrize("value", [64, "large", [64], [96, 64], [0, 64], ["a", "b"], [1, 2, 3]])
def test_a_range_of_sizes_is_two_numbers(name, key, value):
    cfg = OmegaConf.create(GOOD)
    OmegaConf.update(cfg, f"{name}.{key}", value, force_add=True)
    with raises_naming(InputError, f"{name}.{key}"):
        check_values(cfg)


def test_one_rule_gives_the_size():
    cfg = OmegaConf.create(GOOD)
    cfg.fit.method.update({"long_side": [48, 64], "scale": [0.5, 1.5]})
    with raises_naming(InputError, "[48, 64]", "[0.5, 1.5]"):
        check_values(cfg)


@pytest.mark.parametrize("scale", [None, [0.5, 1.5]])
@pytest.mark.parametrize("step", [0, -0.25, "fine", [0.25], 0.3, 2.0])
def test_a_step_of_scales_leads_from_the_smallest_to_the_largest(scale, step):
    cfg = OmegaConf.create(GOOD)
    cfg.fit.segmenter.update({"scale": scale, "scale_step": step})
    with raises_naming(InputError, "fit.segmenter.scale_step", 0):
        check_values(cfg)


def test_a_step_of_scales_needs_a_range():
    cfg = OmegaConf.create(GOOD)
    for scale in ([0.5, 1.5], [0.75, 1.0], [0.7, 1.45]):
        cfg.fit.segmenter.update({"scale": scale, "scale_step": 0.25})
        check_values(cfg)
    cfg.fit.segmenter.update({"scale": None, "scale_step": 0.25})
    with raises_naming(InputError, "scale_step", 0.25, "fit.segmenter.scale", "null"):
        check_values(cfg)


@pytest.mark.parametrize(
    ("key", "value", "bounds"),
    [
        ("jitter.hue", 0.7, "[0, 0.5]"),
        ("jitter.contrast", -1.0, "0"),
        ("hsv_jitter.hue", 0.6, "[0, 0.5]"),
        ("hsv_jitter.value", 1.5, "[0, 1]"),
        ("hsv_jitter.saturation", -0.1, "[0, 1]"),
    ],
)
def test_photometric_changes_have_a_range_that_is_checked_before_work_starts(key, value, bounds):
    cfg = OmegaConf.create(GOOD)
    hsv = dict.fromkeys(("hue", "saturation", "value"), 0.1)
    cfg.fit.segmenter.update({"jitter": {"hue": 0.1, "contrast": 2.0}, "hsv_jitter": hsv})
    check_values(cfg)
    OmegaConf.update(cfg, f"fit.segmenter.{key}", value)
    with raises_naming(InputError, f"fit.segmenter.{key}", value, bounds):
        check_values(cfg)


@pytest.mark.parametrize("given", [{"hue": 0.1}, {"hue": 0, "saturation": 0, "valeu": 0}])
def test_shifts_of_hsv_are_given_all(given):
    cfg = OmegaConf.create(GOOD)
    cfg.fit.segmenter.update({"hsv_jitter": given})
    with raises_naming(InputError, "hsv_jitter", "hue", "saturation", "value"):
        check_values(cfg)


@pytest.mark.parametrize("value", ["strong", 0.1, [0.1, 0.1]])
def test_photometric_changes_are_given_by_name(value):
    cfg = OmegaConf.create({**GOOD, "refine": {"schedule": {"jitter": value}}})
    with raises_naming(InputError, "refine.schedule.jitter"):
        check_values(cfg)


UNTYPED = {
    "box_labels": {
        "inner": 0.2,
        "min_fill": 0.1,
        "jitter": 0.1,
        "agree": [0.2, 0.7],
        "context": 0.1,
    },
    "relabel": {"min_fill": 0.5, "label_confidence": 0.8},
    "pipeline": {"plateau": 0.01, "rounds": 2, "epochs": 1},
    "refine": {"area_factor": 5, "schedule": {"max_epochs": 1, "scale": [1, 2]}},
}


def test_whatever_type_a_value_has_the_answer_is_a_message():
    """Every key with a value of every other type."""
    whole = {**GOOD, **UNTYPED}
    check_values(OmegaConf.create(whole))
    answers = 0
    for group, node in UNTYPED.items():
        for key in node:
            for value in ("fast", -1, True, [1, "b"], ["a"], [], {"a": 1}, {}):
                cfg = OmegaConf.create(whole)
                OmegaConf.update(cfg, f"{group}.{key}", value, merge=False)
                try:
                    check_values(cfg)
                except OmegaConfBaseException:  # the command line tells its message
                    answers += 1
                except InputError as error:
                    assert any(k in str(error) for k in (f"{group}.{key}", "box_labels.context"))  # noqa: PT017
                    answers += 1
    assert answers > 70


# splits


def data_of(**changed):
    lists = {"train": "train.txt", "val": "val.txt", "test": None} | changed.pop("lists", {})
    data = OmegaConf.create(
        {"train": "train", "val": "val", "dataset": {"lists": lists}, **changed}
    )
    OmegaConf.set_struct(data, True)  # as Hydra composes it
    return data


@pytest.mark.parametrize(
    "changed",
    [
        {"val": None},
        {"lists": {"val": None}},
        {"val": None, "lists": {"val": None}},
        {"val": "test"},
    ],
)
def test_a_validation_split_that_is_null_in_any_way_is_none(changed):
    data = data_of(**changed)
    normalise_splits(data)
    assert data.val is None
    assert splits_of(data) == ["train"]
    assert None not in data.dataset.lists.values()
    assert data.dataset.lists.train == "train.txt"


def test_splits_are_the_two_that_are_read_each_once():
    data = data_of()
    normalise_splits(data)
    assert splits_of(data) == ["train", "val"]
    assert splits_of(data_of(val="train")) == ["train"]


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"train": None}, "data.train"),
        ({"lists": {"train": None}}, "data.dataset.lists.train"),
        ({"train": "test"}, "data.dataset.lists.test"),
        ({"dataset": {"lists": None}}, "data.dataset.lists"),
    ],
)
def test_without_a_split_to_learn_from_nothing_starts(changed, key):
    with pytest.raises(InputError) as error:
        normalise_splits(data_of(**changed))
    assert_names(error.value, key, "null")
    assert "=FILE" in str(error.value) or "val" in str(error.value)


@pytest.mark.parametrize("value", [-1, 2**32, 5_000_000_000, 1.5, 1e5, "2**32", True, [1]])
@pytest.mark.parametrize("key", ["seed", "data.generate.seed"])
def test_a_seed_that_generators_do_not_take_is_refused_with_the_range(key, value):
    cfg = config()
    OmegaConf.update(cfg, key, value, force_add=True)
    with raises_naming(InputError, key, 0, 4294967295):
        check_seeds(cfg)


def test_all_seeds_of_32_bits_are_taken():
    check_seeds(config(seed=2**32 - 1, data={"generate": {"seed": 0}}, seeds={"held_out": 0.5}))


def test_an_empty_path_is_named_by_the_key_that_holds_it():
    cfg = config(here=" ", backbone={**BACKBONE, "weights": "${here}"})
    with raises_naming(InputError, "here", "here=PATH"):
        check_targets(cfg)
    with raises_naming(InputError, "backbone.weights"):
        check_targets(config(backbone={**BACKBONE, "weights": ""}))


def test_a_folder_of_a_loggers_own_is_refused_rather_than_ignored():
    check_loggers(config(logger={"csv": {"name": "csv"}}))
    with raises_naming(InputError, "logger.csv.save_dir", "/x", "output_dir=DIR"):
        check_loggers(config(logger={"csv": {"name": "csv", "save_dir": "/x"}}))
