"""Images of the page: tiles inside it, and files in full size beside it."""

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from facts import assert_names
from PIL import Image

from wsss_lightning.data.scores import save_mask
from wsss_lightning.evaluation.pixel_counts import PixelCountWriter
from wsss_lightning.report.__main__ import main

SIZE = (90, 260)  # H, W; larger than a tile
CLASSES = ["cat & dog", "<b>"]
COUNT = {"train": 3, "val": 2}


class Links(HTMLParser):
    """(address, alternative text) of every link around a picture."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.address: str | None = None
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        if tag == "a":
            self.address = told.get("href")
        if tag == "img":
            assert self.address is not None, "an image without a link"
            self.found.append((self.address, told["alt"]))

    def handle_endtag(self, tag):
        if tag == "a":
            self.address = None


@pytest.fixture
def root(tmp_path):
    """Images of noise with masks, the left half of the first class."""
    root = tmp_path / "voc"
    rng = np.random.default_rng(0)
    rows = ["image,cat & dog,<b>"]
    for folder in ("images", "masks", "lists"):
        (root / folder).mkdir(parents=True)
    for split, count in COUNT.items():
        names = [f"{split}_{i}" for i in range(count)]
        (root / f"lists/{split}.txt").write_text("\n".join(names))
        for name in names:
            noise = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
            Image.fromarray(noise).save(root / f"images/{name}.png")
            mask = np.zeros(SIZE, np.uint8)
            mask[:, : SIZE[1] // 2] = 1
            save_mask(root / f"masks/{name}.png", mask)
            rows.append(f"{name},1,0")
    (root / "tags.csv").write_text("\n".join(rows))
    return root


@pytest.fixture
def run(write_runs, root, tmp_path):
    """A run whose predictions of val find nothing, and its results.json."""
    write_runs(tmp_path / "runs", {"cam": 1.0}, seeds=1, images=2, classes=2)
    folder = tmp_path / "runs/cam_0"
    results = json.loads((folder / "results.json").read_text())
    lists = {split: f"lists/{split}.txt" for split in COUNT}
    results["dataset"] |= {
        "root": str(root),
        "classes": CLASSES,
        "lists": lists,
        "tags": "tags.csv",
    }
    (folder / "results.json").write_text(json.dumps(results))
    empty = np.zeros(SIZE, np.uint8)
    counted = PixelCountWriter(3)
    (folder / "predictions/val").mkdir(parents=True)
    for i in range(COUNT["val"]):
        save_mask(folder / f"predictions/val/val_{i}.png", empty)
        truth = np.asarray(Image.open(root / f"masks/val_{i}.png"))
        counted.add(f"val_{i}", *map(tensor, (empty, truth)))
    counted.save(folder / "segmentation_miou/val")
    return folder


def tensor(array):
    import torch

    return torch.from_numpy(np.array(array))


def made(tmp_path, name="a page") -> Path:
    page = tmp_path / f"{name}.html"
    main([str(tmp_path / "runs"), "--out", str(page)])
    return page


def test_every_picture_opens_in_full_size_from_beside_the_page(run, tmp_path):
    page = made(tmp_path)
    links = Links(page).found
    assert {"image", "true mask: cat & dog", "segmentation of cam"} <= {text for _, text in links}
    for address, _ in links:
        assert address.startswith("./a%20page_files/")
        with Image.open(tmp_path / unquote(address)) as picture:
            assert picture.size == (SIZE[1], SIZE[0])
    stored = {path.name for path in (tmp_path / "a page_files").iterdir()}
    assert stored == {address.rpartition("/")[2] for address, _ in links}


def test_pictures_of_an_earlier_page_go_and_files_of_others_stay(run, root, tmp_path):
    page = made(tmp_path)
    folder = tmp_path / "a page_files"
    mine = folder / "mine.jpg"
    mine.write_bytes(b"mine")
    before = {path.name for path in folder.iterdir()}
    for i in range(COUNT["val"]):
        mask = np.full(SIZE, 2, np.uint8)
        save_mask(run / f"predictions/val/val_{i}.png", mask)
    made(tmp_path)
    after = {path.name for path in folder.iterdir()}
    assert before - after
    assert {address.rpartition("/")[2] for address, _ in Links(page).found} | {"mine.jpg"} == after
    root.rename(root.with_name("moved"))  # so there are no pictures any more
    made(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["mine.jpg"]
    mine.unlink()
    made(tmp_path)
    assert not folder.exists()


def test_without_masks_pictures_are_shown_all_the_same(run, root, tmp_path):
    for path in (root / "masks").iterdir():
        path.unlink()
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({**results, "scores": {}}))
    (run / "pseudo").mkdir()
    texts = {text for _, text in Links(made(tmp_path)).found}
    assert any("cat" in text and "dog" in text for text in texts)
    assert not any(text.startswith("true mask") for text in texts)
    assert "evenly spaced" in (tmp_path / "a page.html").read_text()


def test_a_data_set_of_another_version_leaves_the_page_without_images(run, tmp_path):
    results = json.loads((run / "results.json").read_text())
    results["dataset"]["unheard_of"] = 1
    (run / "results.json").write_text(json.dumps(results))
    page = made(tmp_path)
    assert Links(page).found == []
    assert_names(page.read_text(), "dataset.unheard_of")
    assert not (tmp_path / "a page_files").exists()
