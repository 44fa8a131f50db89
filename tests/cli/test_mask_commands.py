"""The verbs `export-masks` and `import-masks`: sources, messages, and folders that appear whole."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import start, there
from example_results import example_results
from facts import assert_names, assert_names_none, raises_naming
from label_masks import CLASSES, IMAGES, write_masks

pytest.importorskip("cv2", reason="an extra: wsss-lightning[masks]")
pytest.importorskip("pycocotools", reason="an extra: wsss-lightning[masks]")

from wsss_lightning.cli import export_masks, import_masks
from wsss_lightning.data.scores import load_mask, save_mask
from wsss_lightning.errors import InputError
from wsss_lightning.export.masks import files
from wsss_lightning.results.schema import write_results


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_masks(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder) -> Path:
    """A run with pseudo masks of `train`, and predictions of `train` and `val`."""
    made = folder / "runs/cam"
    dataset = {"root": str(folder), "image_dir": "images", "mask_dir": "true", "classes": CLASSES}
    write_results(made, example_results(dataset=dataset))
    shutil.copytree(folder / "masks", made / "pseudo")
    for split, name in (("train", "a"), ("val", "sub/a b")):
        target = made / f"predictions/{split}/{name}.png"
        target.parent.mkdir(parents=True)
        shutil.copy(folder / f"masks/{name}.png", target)
    return made


def names(path: Path) -> set[str]:
    content = json.loads((path / "instances.json").read_text(encoding="utf-8"))
    return {image["file_name"].rpartition(".")[0] for image in content["images"]}


def test_pseudo_masks_are_exported_and_corrected_ones_come_back(run, folder, capsys):
    export_masks.main([str(run), "--format", "labelme", "--out", "labels", "--simplify", "0"])
    assert_names(capsys.readouterr().out, "4 images", "exactly the masks")
    path = folder / "labels/a.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["shapes"] = [{"label": "Hot-Dog", "points": [[0, 0], [9, 0], [9, 7], [0, 7]]}]
    path.write_text(json.dumps(content))
    (folder / "labels/b.v2.json").unlink()
    words = ["labels", "--format", "labelme", "--run", str(run), "--out", "corrected"]
    import_masks.main(words)
    said = capsys.readouterr().out
    assert_names(said, "3 masks", "1 of 4 images", "b.v2", "Hot-Dog → hot dog")
    assert_names(said, f"pseudo.masks={folder}/corrected", "data.dataset.mask_dir")
    expected = np.zeros((40, 56), np.uint8)
    expected[:7, :9] = 2
    np.testing.assert_array_equal(load_mask(folder / "corrected/a.png"), expected)
    record = json.loads((folder / "corrected/import.json").read_text())
    assert record["masks"] == 3
    assert record["renamed"] == {"Hot-Dog": "hot dog"}


def test_other_stages_and_splits_of_a_run_are_exported(run, folder):
    words = [str(run), "--format", "coco", "--overwrite", "--out", "x", "--from", "predictions"]
    for split, expected in (("train", {"a"}), ("val", {"sub/a b"})):
        export_masks.main([*words, "--split", split])
        assert names(folder / "x") == expected


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["--from", "predictoins"], ["predictoins", "predictions/train"]),
        (["--from", "predictions", "--split", "test"], ["test", "predictions/val"]),
        (["--split", "val"], ["pseudo", "train", "val"]),
        (["--images", "absent"], ["absent", "--images"]),
        (["--classes", "cat,cat"], ["--classes", "cat,cat"]),
        (["--classes", "cat"], ["a.png", "2", "cat"]),
        (["--simplify", "-1"], ["--simplify", "-1"]),
        (["--min-area", "-3"], ["--min-area", "-3"]),
    ],
)
def test_what_cannot_be_exported_is_named(run, words, facts):
    with raises_naming(InputError, *facts):
        export_masks.main([str(run), "--format", "coco", "--out", "x", *words])
    assert not Path("x").exists()


def test_results_of_predict_are_exported_with_their_classes(folder):
    shutil.move(folder / "masks", folder / "predicted/masks")
    named = enumerate(["background", *CLASSES])
    classes = [{"label": i, "name": name, "colour": [0, 0, i]} for i, name in named]
    (folder / "predicted/classes.json").write_text(json.dumps(classes))
    words = ["predicted", "--format", "coco", "--out", "x"]
    with raises_naming(InputError, "--images"):
        export_masks.main(words)
    export_masks.main([*words, "--images", "images"])
    assert names(folder / "x") == set(IMAGES)


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (None, ["classes.json", "--classes"]),
        ("{", ["classes.json", "--classes"]),
        ('["cat", "dog"]', ["classes.json", "background"]),
        ('[{"label": 0, "name": "background"}, {"label": 2, "name": "x"}]', ["classes.json"]),
    ],
)
def test_masks_without_classes_are_refused(folder, content, facts):
    path = folder / "masks/classes.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with raises_naming(InputError, *facts):
        export_masks.main(["masks", "--images", "images", "--format", "voc", "--out", "x"])


def test_a_mask_without_image_or_of_another_size_is_named(folder):
    words = ["masks", "--images", "images", "--format", "voc", "--out", "x"]
    save_mask(folder / "masks/a.png", np.zeros((9, 7), np.uint8))
    with raises_naming(InputError, "a.png", "7x9", "56x40"):
        export_masks.main(words)
    (folder / "masks/a.png").rename(folder / "masks/other.png")
    with raises_naming(InputError, "other", "images"):
        export_masks.main(words)


def test_small_objects_and_ignored_pixels_are_reported(folder, capsys):
    write_masks(folder, ignored=True)
    words = ["masks", "--images", "images", "--format", "coco", "--out", "x", "--overwrite"]
    export_masks.main(words)
    assert_names(capsys.readouterr().out, "4 images have ignored pixels", "--keep-ignored", 16)
    export_masks.main([*words, "--min-area", "16", "--keep-ignored"])
    said = capsys.readouterr().out
    assert_names(said, "less than 16 pixels")
    assert_names_none(said, "--keep-ignored")
    content = json.loads((folder / "x/instances.json").read_text(encoding="utf-8"))
    assert min(one["area"] for one in content["annotations"]) > 8
    assert [one["name"] for one in content["categories"]] == [*CLASSES, "ignored"]


def test_a_folder_that_exists_is_kept_unless_it_may_be_replaced(folder):
    words = ["masks", "--images", "images", "--format", "labelme", "--out", "x"]
    export_masks.main(words)
    (folder / "x/mine.txt").write_text("corrected")
    with raises_naming(InputError, "x", "--overwrite"):
        export_masks.main(words)
    assert (folder / "x/mine.txt").exists()
    export_masks.main([*words, "--overwrite"])
    assert not (folder / "x/mine.txt").exists()


def test_a_failed_export_leaves_nothing_and_keeps_what_was_there(folder, monkeypatch):
    words = ["masks", "--images", "images", "--format", "labelme", "--out", "x"]
    export_masks.main(words)
    before = sorted(path.name for path in (folder / "x").rglob("*"))
    (folder / "masks/sub/ümläut.png").write_bytes(b"damaged")
    with raises_naming(InputError, "ümläut.png"):
        export_masks.main([*words, "--overwrite"])
    assert sorted(path.name for path in (folder / "x").rglob("*")) == before
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def fail_within(target: Path) -> None:
    with files.new_folder(target, overwrite=True) as partial:
        (partial / "b").touch()
        assert (target / "a").exists()
        raise RuntimeError


def test_the_old_folder_is_there_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "x"
    with files.new_folder(target, overwrite=False) as partial:
        (partial / "a").touch()
        assert not target.exists()
    with pytest.raises(RuntimeError):
        fail_within(target)
    assert [path.name for path in target.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        ([], ["--run", "--images", "--classes"]),
        (["--images", "images"], ["--run", "--classes"]),
        (["--images", "no", "--classes", "cat"], ["--images", "no"]),
        (["--run", "masks"], ["masks/results.json"]),
        (["--images", "images", "--classes", "cat,"], ["--classes", "cat,"]),
        (["--images", "images", "--classes", "cat", "--map", "cat"], ["--map", "cat"]),
        (["--images", "images", "--classes", "cat", "--map", "a=cat", "--map", "a=b"], ["a", "b"]),
    ],
)
def test_what_cannot_be_imported_is_named(folder, words, facts):
    with raises_naming(InputError, *facts):
        import_masks.main(["masks", "--format", "voc", "--out", "back", *words])
    with raises_naming(InputError, "absent"):
        import_masks.main(
            ["absent", "--format", "voc", "--out", "b", "--images", "images", "--classes", "cat"]
        )


def test_a_missing_package_is_named_with_the_command_that_installs_it(folder, monkeypatch):
    import sys

    from wsss_lightning.export.masks import formats

    for module in [name for name in sys.modules if name.startswith(f"{formats.__name__}.")]:
        monkeypatch.delitem(sys.modules, module)
    for package in ("cv2", "pycocotools"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            if package == "cv2":
                patch.delitem(sys.modules, "wsss_lightning.export.masks.objects")
            patch.delitem(sys.modules, "wsss_lightning.export.masks.polygons")
            with raises_naming(InputError, package, "wsss-lightning[masks]"):
                export_masks.main(["masks", "--images", "images", "--format", "coco", "--out", "x"])


@pytest.mark.slow
def test_the_commands_work_in_a_process_of_their_own(folder):
    words = ("masks", "--images", "images", "--format", "coco-rle", "--out", "x")
    done = there("export-masks", *words, folder=folder)
    assert done.code == 0, done.err
    assert re.search(r"^masks +x$", done.out, re.MULTILINE)
    wrong = there("import-masks", "x", "--format", "cvat", "--out", "y", folder=folder)
    assert wrong.code == 1
    assert "Traceback" not in wrong.err
    process = start("export-masks", *words, "--overwrite", folder=folder)
    process.kill()
    process.communicate()
    assert names(folder / "x") == set(IMAGES)
