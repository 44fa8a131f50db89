"""Messages about arguments that cannot be used, before or right after composition."""

import subprocess
import sys

import pytest
from facts import assert_names
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from wsss_lightning.cli.error_messages import (
    check_overrides,
    check_sweep,
    explain_error,
    repeated_keys,
)
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.errors import InputError


def answer(*words):
    """What a command line of these words is answered."""
    try:
        check_overrides(words)
        options = [word for word in words if word.startswith("-")]
        overrides = [word for word in words if not word.startswith("-")]
        check_sweep(options, overrides)
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            compose("config", overrides)
    except InputError as error:
        return str(error)
    except (HydraException, OmegaConfBaseException) as error:
        return explain_error(error, words)
    return ""


# what is typed, and the words that the answer must hold
SLIPS = {
    ("--experiment", "cam"): ["experiment=cam"],
    ("--experiment=cam",): ["experiment=cam"],
    ("-experiment=cam",): ["experiment=cam"],
    ("experiment=cam", "--seed=1"): ["seed=1"],
    ("experiment=cam", "--gpus=2"): ["trainer.devices"],
    ("experiment=cam", "--multirn"): ["--multirun"],
    ("experiment=cam", "--cfg"): ["--cfg"],
    ("experiment=cam", "--cfg", "jobs"): ["jobs", "job, hydra, all"],
    ("experiment=cam", "--multirun=3"): ["--multirun"],
    ("experimnet=cam",): ["experimnet", "experiment=cam"],
    ("exp=cam",): ["experiment=cam"],
    ("experiment=cam", "exp=3"): ["experiment"],
    (): ["experiment=cam_small", "--help"],
    ("experiment=caam",): ["experiment=caam", "cam"],
    ("experiment=cam", "bakbone=resnet18"): ["bakbone", "backbone"],
    ("experiment=cam", "fit.method.max_epoch=3"): ["fit.method.max_epochs"],
    ("experiment=cam", "+seed=1"): ["seed"],
    ("experiment=cam", "seed=abc"): ["seed", "abc", "whole number"],
    ("experiment=cam", "seed=2**32"): ["seed", "2**32", "4294967295"],
    ("experiment=cam", "seed=1e5"): ["seed", "whole number"],
    ("experiment=cam", "test.crf=perhaps"): ["test.crf", "perhaps", "bool"],
    ("experiment=cam", "resume=perhaps"): ["resume", "perhaps", "bool"],
    ("Experiment=cam",): ["experiment=cam"],
    ("experiment", "=", "cam"): ["experiment=cam", "blank"],
    ("experiment=", "cam"): ["experiment=cam", "blank"],
    ("experiment", "=cam"): ["experiment=cam", "blank"],
    ("experiment", "cam"): ["experiment=cam"],
    ("experiment:cam",): ["experiment=cam"],
    ("experiment==cam",): ["experiment=cam"],
    ("experiment=cam seed=1",): ["experiment=cam", "seed=1"],
    ("experiment=null",): ["experiment=null", "--help"],
    ("experiment=cam", "refine=null"): ["refine=null", "--help"],
    ("experiment=cam", "help"): ["--help"],
    ("experiment=cam", "seed="): ["seed", "whole number"],
    ("=cam",): ["experiment=cam"],
    ("cam",): ["experiment=cam"],
    ("reprt",): ["reprt", "wsss-lightning report"],
    ("check_data", "data=voc2012"): ["wsss-lightning check-data"],
    ("semm",): ["experiment=seam"],
    ("experiment=cam", "report"): ["wsss-lightning report", "first"],
    ("xyzzy",): ["xyzzy", "experiment=cam", "report", "check-data"],
    ("experiment=cam.yaml",): ["experiment=cam"],
    ("experiment=conf/experiment/cam.yaml",): ["experiment=cam"],
    ("experiment=CAM",): ["experiment=CAM", "cam"],
    ("experiment=",): ["experiment"],
    ("experiment=classifier",): ["method=classifier"],
    ("experiment=cam", "experiment=seam"): ["experiment", "cam", "seam", "-m"],
    ("experiment=cam", "seed =1"): ["seed=1", "blanks"],
    ("experiment=cam", "da ta=voc2012"): ["data=voc2012", "blanks"],
    ("experiment=cam", "method=cam"): ["experiment=cam", "method=classifier"],
    ("experiment=cam", "method=grad_cam"): ["experiment=grad_cam", "method=classifier"],
    ("method=seam_small",): ["experiment=seam_small", "method=seam"],
    ("experiment=cam", "pipeline=cam"): ["experiment=cam", "pipeline=tags"],
    ("experiment=cam", "refine=unet"): ["segmenter=unet"],
    ("experiment=cam", "data=VOC2012"): ["voc2012"],
    ("experiment=cam", "backbone=resnet34"): ["backbone.name=resnet34"],
    ("experiment=cam", "backbone=tf_efficientnet_lite0"): ["tf_efficientnet_lite0"],
    ("experiment=cam", "backbone=resnet51"): ["resnet50"],
    ("experiment=cam", "trainer.max_epochs=3"): [
        "fit.method.max_epochs",
        "fit.segmenter.max_epochs",
    ],
    ("experiment=cam", "epochs=3"): ["fit.method.max_epochs", "fit.segmenter.max_epochs"],
    ("experiment=cam", "lr=0.1"): ["method.optimizer.lr", "segmenter.optimizer.lr"],
    ("experiment=cam", "batch_size=4"): ["fit.method.batch_size", "fit.segmenter.batch_size"],
    ("experiment=cam", "gpus=2"): ["trainer.devices", "trainer=ddp"],
    ("experiment=cam", "num_workers=4"): ["workers"],
    ("experiment=cam", "out_dir=x"): ["output_dir"],
    ("experiment=cam", "zzz=1"): ["zzz", "--cfg job"],
    ("experiment=cam", "seed=1.5"): ["seed", 1.5, "4294967295"],
    ("experiment=cam", "fit.method.batch_size=x"): ["fit.method.batch_size", "x", "whole number"],
    ("experiment=cam", "fit.method.long_side=[48"): ["fit.method.long_side=[48"],
    ("experiment=cam", "seed=0,1"): ["seed=0,1", "-m"],
    ("experiment=cam", "-m", "seed=1"): ["-m", "seed=0,1,2"],
    ("experiment=cam", "-m", "--cfg=job", "seed=0,1"): ["-m", "--cfg"],
}


@pytest.mark.parametrize("words", SLIPS, ids=" ".join)
def test_a_slip_is_answered_with_what_was_meant(words):
    message = answer(*words)
    assert_names(message, *SLIPS[words])

    assert len(message) < 400 or words == ()  # which lists all experiments
    assert "hydra.cc" not in message


@pytest.mark.parametrize(
    "words",
    [
        ("experiment=cam", "seed=1"),
        ("experiment=cam", "~cam", "--cfg", "job"),
        ("-m", "experiment=cam", "hydra/sweeper=basic"),
        ("experiment=cam", "--info=defaults"),
        ("-cd", "x", "--config-dir=y", "-cdz", "-cjob"),
    ],
)
def test_words_that_hydra_takes_are_left_alone(words):
    check_overrides(words)
    check_sweep(words, words)


def test_a_key_that_is_given_twice_is_noted_with_both_values():
    (note,) = repeated_keys(["seed=1", "workers=2", "seed=3", "workers=2"])
    assert "seed" in note
    assert "1 and as 3" in note


def test_answers_need_no_pytorch():
    modules = ["options", "overrides", "run_names", "suggestions", "error_messages", "run", "sweep"]
    code = "; ".join(f"import wsss_lightning.cli.{name}" for name in modules)
    code += "; import sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
