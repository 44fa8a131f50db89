import itertools
import re

import pytest

from wsss_lightning.cli.run_names import SWEEP_COMMON, announce_sweep, job_name, run_name

COMMANDS = [
    ["experiment=cam"],
    ["experiment=cam", "seed=1"],
    ["experiment=cam", "seed=-1"],
    ["experiment=cam", "seed=1."],
    ["experiment=cam", "seed=1", "data=voc2012"],
    ["experiment=cam_small", "seed=1"],
    ["experiment=cam", "data=x_seed-1"],
    ["experiment=cam", "data=x", "seed=1"],
    ["experiment=cam", "+seed=1"],
    ["experiment=cam", "~seed"],
    ["experiment=cam", "data.root=/a/voc"],
    ["experiment=cam", "data.root=/b/voc"],
    ["experiment=cam", "data.root='/b/voc (1)'"],
    ["experiment=cam", "data.root='/b/voc [1]'"],
    ["experiment=cam", "data.root='数据'"],
    ["experiment=cam", "data.root='图片'"],
    ["experiment=cam", "trainer.precision=16-mixed"],
    ["experiment=cam", "cam.scales=[0.5,1.0]"],
    ["experiment=cam", "cam.scales=[0.5, 10]"],
    ["experiment=cam", "name=a b"],
    ["experiment=cam", "name=a-b"],
    ["experiment=cam", "name=a,b"],
    ["experiment=cam", "name=" + 200 * "x"],
    ["experiment=cam", "name=" + 201 * "x"],
    ["experiment=stages"],
    ["experiment=sweep"],
    ["seed=1"],
    [],
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("WSSS_SWEEP", SWEEP_COMMON):
        monkeypatch.setenv(name, "[]")


def test_names_say_what_was_chosen():
    assert run_name(["seed=1", "data=voc2012", "experiment=cam"]) == "cam_data-voc2012_seed-1"
    assert run_name(["experiment=cam_small", "method.optimizer.lr=1e-3"]) == (
        "cam_small_method.optimizer.lr-1e-3"
    )
    assert re.fullmatch(
        r"cam_data\.root-VOC_\w{8}", run_name(["experiment=cam", "data.root=/x/VOC/"])
    )


@pytest.mark.parametrize("words", COMMANDS, ids=str)
def test_names_need_no_quotes_and_are_short_enough(words):
    name = run_name(words)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}", name)
    assert name not in ("stages", "sweep", "check_data")


def test_different_commands_never_share_a_name():
    for one, other in itertools.combinations(COMMANDS, 2):
        assert run_name(one).lower() != run_name(other).lower(), (one, other)


def test_the_same_command_has_the_same_name():
    assert run_name(["experiment=cam", "seed=1"]) == run_name(["seed=1", "experiment=cam"])
    assert run_name(["experiment=cam", "seed=1", "seed=2"]) == run_name(
        ["experiment=cam", "seed=2"]
    )
    aside = [
        "workers=4",
        "output_dir='a b'",
        "logger=wandb",
        "hydra/launcher=local",
        "resume=false",
    ]
    assert run_name(["experiment=cam", *aside]) == "cam"


def test_a_jobs_name_shows_what_differs_and_sorts_in_job_order():
    announce_sweep(
        ["experiment=cam", "data.root='/x/a=b'", "seed=0,1", "fit.method.max_epochs=3,4"]
    )
    task = ["experiment=cam", "data.root='/x/a=b'"]
    names = [
        job_name(i, [*task, f"seed={seed}", f"fit.method.max_epochs={epochs}"])
        for i, (seed, epochs) in enumerate(itertools.product(range(6), (3, 4)))
    ]
    assert names[0] == "0000_seed-0_max_epochs-3"
    assert names == sorted(names)
    # none of the command line, as of a sweeper that has its own values
    assert job_name(3, [*task, "backbone.name=x", "data.name=x"]) == (
        "0003_backbone.name-x_data.name-x"
    )
    long = [f"cam.scales=[{i},{'1.0,' * 60}2]" for i in range(2)]
    shown = [job_name(1, [*task, word]) for word in long]
    assert shown[0] != shown[1]
    assert all(re.fullmatch(r"0001_scales-[\w.-]{1,108}", name) for name in shown)
