"""The verb `predict`: folders in, masks out; resumed, and checked before work starts."""

import json

import numpy as np
import pytest
from commands import kill_when, start
from facts import assert_names
from pictures import save_turned
from PIL import Image
from small_models import info_of, module_of

from wsss_lightning.cli.verbs import run_command_line
from wsss_lightning.data.scores import load_mask, mask_texts
from wsss_lightning.predict.model_file import save_model
from wsss_lightning.predict.predictor import Predictor

SIZES = {"a": (40, 50), "b": (40, 50), "sub dir/c": (64, 48), "Sub/d": (30, 30)}


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "model", module_of("segmentation"), info_of("segmentation"))


@pytest.fixture
def photos(tmp_path):
    """Photos of several sizes and kinds, in nested folders."""
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    for name, size in SIZES.items():
        path = folder / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(path)
    save_turned(folder / "turned.png", 6)
    return folder


@pytest.fixture
def command(tmp_path, model, capsys):
    """`command(*arguments)`: exit code, output and errors of the verb with this model."""

    def call(*arguments):
        capsys.readouterr()
        code = 0
        try:
            words = ["predict", model, *arguments, "--workers", "0", "--device", "cpu"]
            run_command_line([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return call


def masks_in(folder):
    return {p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.png")}


def test_a_folder_becomes_masks_overlays_probabilities_and_areas(command, photos, tmp_path, model):
    out = tmp_path / "out"
    code, text, errors = command(photos, "--out", out, "--overlays", "--probabilities")
    assert (code, errors) == (0, "")
    assert_names(text, "5 photos", out / "masks", "per second")
    names = {*SIZES, "turned"}
    assert masks_in(out / "masks") == names
    for one in Predictor(model, device="cpu")(photos):
        mask = load_mask(out / "masks" / f"{one.name}.png")
        np.testing.assert_array_equal(mask, one.mask)
        with Image.open(out / "overlays" / f"{one.name}.jpg") as overlay:
            assert overlay.size == mask.shape[::-1]
        with np.load(out / "probabilities" / f"{one.name}.npz") as stored:
            assert stored["probabilities"].shape == (3, *mask.shape)
    assert load_mask(out / "masks/turned.png").shape == (12, 20)
    rows = [line.split(",") for line in (out / "areas.csv").read_text().splitlines()]
    assert rows[0] == ["name", "background", "cat", "dog"]
    assert {row[0] for row in rows[1:]} == names
    assert all(sum(map(float, row[1:])) == pytest.approx(1, abs=1e-5) for row in rows[1:])
    classes = json.loads((out / "classes.json").read_text())
    assert [one["name"] for one in classes] == ["background", "cat", "dog"]
    assert classes[2]["colour"] == [0, 128, 0]


def test_finished_photos_are_skipped_and_changed_ones_are_not(command, photos, tmp_path):
    out = tmp_path / "out"
    command(photos, "--out", out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("masks/**/*.png")}
    Image.new("RGB", (50, 40), (9, 9, 9)).save(photos / "a.jpg")
    (out / "masks/b.png").write_bytes(b"damaged")
    code, text, _ = command(photos, "--out", out)
    assert code == 0
    assert_names(text, "3 photos were finished before", "2 photos in")
    changed = {path.stem for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {"a", "b"}
    code, text, _ = command(photos, "--out", out, "--overlays")  # these are missing
    assert_names(text, "5 photos in")


def test_other_settings_are_refused_unless_the_results_are_to_be_replaced(
    command, photos, tmp_path
):
    out = tmp_path / "out"
    command(photos, "--out", out)
    before = load_mask(out / "masks/a.png")
    code, _, errors = command(photos / "a.jpg", "--out", out, "--no-flip", "--scales", "0.5,2")
    assert code == 1
    assert_names(errors, "flip True, now False", "scales [1.0], now [0.5, 2.0]", "--overwrite")
    np.testing.assert_array_equal(load_mask(out / "masks/a.png"), before)
    code, _, _ = command(photos / "a.jpg", "--out", out, "--no-flip", "--overwrite")
    assert code == 0
    assert masks_in(out / "masks") == {"a"}


def test_unreadable_photos_are_listed_and_the_others_done(command, photos, tmp_path):
    (photos / "empty.jpg").write_bytes(b"")
    content = (photos / "a.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(content[: len(content) // 2])
    code, text, errors = command(photos, "--out", tmp_path / "out")
    assert code == 1
    assert_names(errors, "2 photos", "empty.jpg", "cut.jpg")
    assert_names(text, "5 photos in")
    assert masks_in(tmp_path / "out/masks") == {*SIZES, "turned"}
    assert "cut" not in (tmp_path / "out/areas.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["{photos}", "--out", "{photos}"], ["folder of the results"]),
        (["{photos}/a.jpg", "--out", "{photos}/sub dir"], ["sub dir", "other files"]),
        (["{photos}/a.jpg", "--out", "{photos}/b.jpg"], ["b.jpg", "file"]),
        (["{photos}", "{photos}/sub dir/../a.jpg", "--out", "new"], ["a.jpg", "share"]),
        (["{photos}/nothing*", "--out", "new"], ["nothing*"]),
        (["{photos}", "--out", "new", "--workers", "-1"], ["--workers", "-1"]),
        (["{photos}", "--out", "new", "--long-side", "-5"], ["long_side", "-5"]),
        (["{photos}", "--out", "new", "--device", "cuda:99"], ["cuda:99"]),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    arguments, facts, model, photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    words = [word.format(photos=photos) for word in arguments]
    with pytest.raises(SystemExit) as stop:
        run_command_line(["predict", str(model), *words])
    assert stop.value.code == 1
    assert_names(capsys.readouterr().err, *facts)
    assert sorted(tmp_path.rglob("*")) == before


def test_results_inside_the_folder_of_photos_are_no_photos(command, photos):
    for _ in range(2):
        code, _, _ = command(photos, "--out", photos / "out", "--overlays")
        assert code == 0
        assert masks_in(photos / "out/masks") == {*SIZES, "turned"}


def test_a_damaged_settings_file_is_not_ignored(command, photos, tmp_path):
    command(photos, "--out", tmp_path / "out")
    (tmp_path / "out/settings.json").write_text("{")
    code, _, errors = command(photos, "--out", tmp_path / "out")
    assert code == 1
    assert_names(errors, tmp_path / "out/settings.json")


@pytest.mark.slow
def test_a_killed_command_leaves_complete_files_and_resumes(
    command, model, photos, tmp_path, monkeypatch
):
    rng = np.random.default_rng(1)
    for i in range(40):
        image = rng.integers(0, 256, (200, 240, 3)).astype(np.uint8)
        Image.fromarray(image).save(photos / f"many_{i}.png")
    words = ("--out", "out", "--batch-size", "1")
    process = start("predict", str(model), str(photos), *words, folder=tmp_path)
    kill_when(process, tmp_path, "out/masks/many_*.png")
    finished = list((tmp_path / "out/masks").rglob("*.png"))
    assert 0 < len(finished) < 45
    assert all(mask_texts(path) for path in finished)
    monkeypatch.chdir(tmp_path)
    code, text, _ = command(photos, *words)
    assert code == 0
    assert len(masks_in(tmp_path / "out/masks")) == 45
    assert not [p for p in (tmp_path / "out").rglob(".*") if p.is_file()]
    assert_names(text, "45 photos", "were finished before")
