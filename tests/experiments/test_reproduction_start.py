"""What the reproduction kit checks before it starts a sweep, and what it counts of its cost."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from facts import assert_names, assert_names_none
from omegaconf import OmegaConf
from PIL import Image
from reproduction import KIT, script

from wsss_lightning.nets.resnet38 import ResNet38
from wsss_lightning.recipes import differences, read_recipe, recipe_names
from wsss_lightning.steps.datasets import forget_splits

pytestmark = pytest.mark.skipif(not KIT.is_dir(), reason="experiments/ is not in the sdist")
RESNET38 = {"sc_cam_voc2012", "seam_voc2012", "cam_psa_voc2012"}


@pytest.fixture(scope="module")
def run():
    return script("run")


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    return script("fake_voc").write(tmp_path_factory.mktemp("kit") / "VOC2012")


@pytest.fixture
def root(generated, tmp_path) -> Path:
    forget_splits()
    return shutil.copytree(generated, tmp_path / "VOC2012")


@pytest.fixture
def start(run, root, tmp_path, monkeypatch, capfd):
    """`start(*words)`: exit status, output and errors of the checks alone."""
    monkeypatch.delenv(run.RESNET38, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*words: str):
        status = 0
        try:
            run.main([str(root), "--check", *words])
        except SystemExit as stop:
            status = stop.code
        shown = capfd.readouterr()
        return status, shown.out, shown.err

    return call


def test_the_sweep_runs_every_recipe_for_voc_2012(run):
    names = {name for name in recipe_names() if name.endswith("_voc2012")}
    assert set(run.experiments_of("sweep")) == names
    assert {name.removeprefix("small_") for name in run.experiments_of("small")} == names


@pytest.mark.parametrize("name", sorted(n for n in recipe_names() if n.endswith("_voc2012")))
def test_the_sweep_runs_recipes_with_the_settings_of_their_tables(run, name):
    cfg = run.composed("sweep", "data.root=unused", f"experiment={name}")
    del cfg.hydra
    assert differences(read_recipe(name), OmegaConf.to_container(cfg, resolve=True)) == []


def test_recipes_that_need_weights_are_named_before_work_starts(start, run):
    status, out, _ = start("--incomplete")
    assert status == 1
    assert_names(out, *RESNET38, "YudeWang/SEAM")
    assert_names_none(out.partition("YudeWang")[0], *set(run.experiments_of("sweep")) - RESNET38)


def test_the_others_run_without_weights(start, monkeypatch, run):
    monkeypatch.setattr(run.torch.cuda, "device_count", lambda: 2)
    status, out, _ = start("--incomplete", "--without-resnet38", "--seeds", "0", "1")
    assert status == 0
    command = out.splitlines()[-1]
    experiments = re.search(r"experiment=(\S+)", command)[1].split(",")
    assert set(experiments) == set(run.experiments_of("sweep")) - RESNET38
    assert " seed=0,1 " in command
    assert "device_groups=[[0],[1]]" in command.replace("'", "")
    assert "hydra.launcher.n_jobs=2" in command


def test_a_single_gpu_is_that_which_was_asked_for(start, monkeypatch, run):
    monkeypatch.setattr(run.torch.cuda, "device_count", lambda: 4)
    _, out, _ = start("--incomplete", "--recipes", "grad_cam_voc2012", "--gpus", "2")
    assert "device_groups=[[2]]" in out.splitlines()[-1].replace("'", "")
    assert "launcher" not in out.splitlines()[-1]


def test_weights_of_resnet38_let_recipes_run(start, tmp_path):
    torch.save(ResNet38().state_dict(), tmp_path / "weights.pth")
    words = ["--resnet38", "weights.pth", "--recipes", *sorted(RESNET38), "--incomplete"]
    status, out, _ = start(*words, "--", "trainer=cpu")
    assert status == 0
    command = out.splitlines()[-1]
    assert set(re.search(r"experiment=(\S+)", command)[1].split(",")) == RESNET38
    assert command.endswith(" trainer=cpu")
    assert "slots" not in command


def test_weights_of_a_trained_network_are_refused(start, tmp_path):
    state = ResNet38().state_dict() | {"fc8.weight": torch.zeros(20, 4096, 1, 1)}
    torch.save(state, tmp_path / "weights.pth")
    recipe = ["--recipes", "seam_voc2012"]
    status, _, err = start("--incomplete", "--resnet38", "weights.pth", *recipe)
    assert status == 1
    assert "PSA" in err


def test_a_part_of_the_data_is_refused(start):
    status, out, err = start("--recipes", "grad_cam_voc2012")
    assert status == 1
    assert_names(out, "train_aug", 12, 10582, near=100)
    assert "--incomplete" in err


def test_masks_of_val_that_differ_are_counted(start, root):
    for path in sorted((root / "SegmentationClassAug").glob("tiny_5*.png"))[:2]:
        with Image.open(path) as mask:
            Image.fromarray(np.zeros_like(np.asarray(mask))).save(path)
    _, out, _ = start("--recipes", "grad_cam_voc2012")
    assert_names(out, "SegmentationClassAug", 2, "val", near=100)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--recipes", "seam"], "seam_voc2012"),
        (["--recipes", "grad_cam_voc2012", "--gpus", "7"], "[7]"),
        (["--recipes", "grad_cam_voc2012"], "GPU"),
    ],
)
def test_what_is_missing_is_an_error(start, monkeypatch, run, words, told):
    monkeypatch.setattr(run.torch.cuda, "device_count", lambda: 0)
    status, _, err = start("--incomplete", *words)
    assert status == 1
    assert told in err


def test_the_arithmetic_of_a_known_network_is_counted(monkeypatch):
    cost = script("cost")
    cfg = cost.composed("grad_cam_voc2012")
    module = OmegaConf.to_container(cfg.method, resolve=True)
    module["net"]["backbone"] |= {"output_stride": 32, "dilated": True, "frozen": []}
    monkeypatch.setattr(cost, "HEIGHT", 224)
    monkeypatch.setattr(cost, "WIDTH", 224)
    text = OmegaConf.to_yaml(OmegaConf.create(module))
    # torchvision publishes 4.09e9 multiplications for ResNet-50 at 224 pixels; 2 FLOP each
    assert cost.inference_flop(text, (1.0,), False) == pytest.approx(2 * 4.09e9, rel=0.01)
    assert cost.inference_flop(text, (1.0,), True) == pytest.approx(4 * 4.09e9, rel=0.01)
    # the backward pass is twice the forward one, but for the first layer's input
    assert cost.training_flop(text, 224) == pytest.approx(6 * 4.09e9, rel=0.03)


def test_every_image_of_a_recipe_is_counted():
    cost = script("cost").cost_of("grad_cam_voc2012")
    seeds = sum(count for kind, count in cost.files.items() if kind.startswith("seeds"))
    assert seeds == 10582 + 1449
    assert cost.files["network"] == 10582 + 1449
    assert cost.crfs == 2 * (10582 + 1449)  # behind seeds, and behind the network


@pytest.mark.long
def test_the_readme_has_the_table_of_costs(capsys):
    script("cost").main(["--markdown"])
    table = capsys.readouterr().out.strip()
    assert table in (KIT / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.long
def test_the_kit_runs_end_to_end_and_reproduces_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(KIT.parents[2]))
    assert script("dry_run").dry_run(tmp_path / "kit") == []
    with pytest.raises(SystemExit) as stop:
        script("check").main([str(tmp_path / "kit/runs"), "--json"])
    assert stop.value.code == 1
