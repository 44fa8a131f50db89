"""What the images of the page show: a heat map per class, merged steps, the worst and the best."""

import json
import re

import numpy as np
import pytest
import torch
from chromium import chromium  # noqa: F401
from PIL import Image

from wsss_lightning.data.scores import save_mask, save_score
from wsss_lightning.data.tag_probabilities import save_probabilities
from wsss_lightning.evaluation.pixel_counts import PixelCountWriter
from wsss_lightning.report.__main__ import main

HEIGHT, WIDTH = SIZE = (40, 60)
CLASSES = ["cat & dog", "<b>", "pig"]
NAMES = ["val_0", "val_1", "val_2"]
WRONG = {"val_0": 10, "val_1": 30, "val_2": 0}  # columns of the object that masks miss
OBJECT = 40  # columns


@pytest.fixture
def root(tmp_path):
    """Images that show the first two classes, whose masks are the first 40 of 60 columns."""
    root, rng = tmp_path / "voc", np.random.default_rng(0)
    for folder in ("images", "masks", "lists"):
        (root / folder).mkdir(parents=True)
    for split in ("train", "val"):
        (root / f"lists/{split}.txt").write_text("\n".join(NAMES))
    for name in NAMES:
        noise = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        Image.fromarray(noise).save(root / f"images/{name}.png")
        save_mask(root / f"masks/{name}.png", mask_without(0))
    rows = [f"{name},1,1,0" for name in NAMES]
    (root / "tags.csv").write_text("\n".join(["image,cat & dog,<b>,pig", *rows]))
    return root


def mask_without(missed: int) -> np.ndarray:
    """The object, first and second class half each, without some columns of the second."""
    mask = np.zeros(SIZE, np.uint8)
    mask[:, : OBJECT // 2], mask[:, OBJECT // 2 : OBJECT] = 1, 2
    mask[:, OBJECT - missed : OBJECT] = 0
    return mask


@pytest.fixture
def run(write_runs, root, tmp_path):
    """A run with seeds, marginals, tag probabilities and two kinds of masks of val."""
    steps = (("crf", "val"), ("segmentation", "val"))
    write_runs(tmp_path / "runs", {"cam": 1.0}, seeds=1, images=3, classes=3, steps=steps)
    folder = tmp_path / "runs/cam_0"
    results = json.loads((folder / "results.json").read_text())
    lists = {split: f"lists/{split}.txt" for split in ("train", "val")}
    results["dataset"] |= {"root": str(root), "classes": CLASSES, "lists": lists}
    results["dataset"]["tags"] = "tags.csv"
    (folder / "results.json").write_text(json.dumps(results))
    counted = PixelCountWriter(len(CLASSES) + 1)
    for name in NAMES:
        mask = mask_without(WRONG[name])
        for step in ("crf_masks", "predictions"):
            save_mask(folder / step / f"val/{name}.png", mask)
        counted.add(name, torch.from_numpy(mask), torch.from_numpy(mask_without(0)))
        score = np.zeros((2, *SIZE), np.float32)
        score[0, :, 0], score[1, :, 1] = 1.0, 0.5
        save_score(folder / f"seeds/val/{name}.npz", score, np.array([1, 2]), bits=16)
        marginals = np.full((2, *SIZE), 0.5, np.float32)
        save_score(folder / f"crf/val/{name}.npz", marginals, np.array([0, 1]), bits=16)
    for step in ("crf", "segmentation"):
        counted.save(folder / f"{step}_miou/val")
    table = {name: [0.875, 0.25, 0.0] for name in NAMES}
    save_probabilities(folder / "tag_probabilities/val/probabilities.csv", CLASSES, table)
    return folder


@pytest.fixture
def page(run, tmp_path):
    """Text of the page of the run."""

    def call() -> str:
        main([str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")])
        return (tmp_path / "page.html").read_text()

    return call


def captions(text: str) -> list[str]:
    """Captions below the tiles of the first image."""
    first = re.split(r"<h3>val_\d", text)[1]
    return [
        one.replace("<br>", " | ") for one in re.findall("<figcaption>(.*?)</figcaption>", first)
    ]


def test_each_tag_of_an_image_has_a_heat_map_with_its_peak_and_probability(page):
    shown = captions(page())
    assert shown[2:5] == [
        "CAM of cat &amp; dog | peak 1.00, p 0.88",
        "CAM of &lt;b&gt; | peak 0.50, p 0.25",
        "confidence | mean 0.50",
    ]


def test_colour_bars_of_what_is_shown_stand_in_the_legend(page, run):
    text = page()
    assert text.count("linear-gradient(to right, #") == 2
    assert "p: probability of the tag" in text
    for folder in ("tag_probabilities", "crf"):
        (run / folder / "val").rename(run / folder / "other")
    text = page()
    assert text.count("linear-gradient(to right, #") == 1
    assert "p: probability of the tag" not in text


def test_steps_with_the_same_masks_in_all_images_are_one_tile(page, run):
    merged = captions(page())
    assert merged[5:] == ["CRF = segmentation | mIoU 30 %"]
    mask = mask_without(WRONG["val_2"])
    mask[0, 0] = 3  # a pixel of another image
    save_mask(run / "predictions/val/val_2.png", mask)
    assert captions(page())[5:] == ["CRF | mIoU 30 %", "segmentation | mIoU 30 %"]


def test_the_worst_and_the_best_image_are_named_with_their_miou(page):
    mious = {}
    for name, missed in WRONG.items():  # by hand: background, first and second class
        background = (WIDTH - OBJECT) / (WIDTH - OBJECT + missed)
        first, second = (1, (20 - missed) / 20) if missed <= 20 else ((40 - missed) / 20, 0)
        mious[name] = round(100 * (background + first + second) / 3)
    assert sorted(WRONG, key=mious.get) == ["val_1", "val_0", "val_2"]
    found = re.findall(r'<h3>(val_\d) <span class="soft">(.*?)</span>', page())
    assert found[: len(NAMES)] == [
        ("val_1", f"worst of 3: mean mIoU {mious['val_1']} %"),
        ("val_0", f"2nd worst of 3: mean mIoU {mious['val_0']} %"),
        ("val_2", f"best of 3: mean mIoU {mious['val_2']} %"),
    ]


def test_without_true_masks_images_of_train_are_ranked_by_quality(page, run, root, tmp_path):
    for path in (*root.glob("masks/*"), *run.rglob("images.npz")):
        path.unlink()
    (run / "quality").mkdir()
    rows = "\n".join(f"{name},,{0.9 - 0.2 * i}" for i, name in enumerate(NAMES))
    (run / "quality/quality.csv").write_text(f"name,class,quality\n{rows}\n")
    text = page()
    train = text[text.index("train: 3 images") :]
    assert "lowest mean estimated quality first" in train
    assert re.findall(r'<h3>(val_\d) <span class="soft">(.*?)</span>', train) == [
        ("val_2", "worst of 3: mean estimated quality 50 %"),
        ("val_1", "2nd worst of 3: mean estimated quality 70 %"),
        ("val_0", "best of 3: mean estimated quality 90 %"),
    ]
    assert "val: 3 images, evenly spaced" in text


# in a browser


@pytest.fixture
def opened(page, chromium, tmp_path):  # noqa: F811
    """The page on a phone or on a laptop, without errors of its script."""
    page()
    contexts, errors = [], []

    def call(**options):
        context = chromium.new_context(**options)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(10_000)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto((tmp_path / "page.html").as_uri())
        return tab

    yield call
    for context in contexts:
        context.close()
    assert errors == []


def caption_of(tab) -> str:
    return tab.locator("dialog p").inner_text()


def test_a_clicked_image_is_enlarged_and_keys_show_the_others(opened):
    tab = opened(viewport={"width": 1366, "height": 768})
    links = tab.locator("details[open] .strip a")
    count = links.count()
    links.nth(2).click()
    box = tab.locator("dialog[open]")
    assert box.locator("img").get_attribute("src").endswith(links.nth(2).get_attribute("href")[2:])
    assert "CAM of cat & dog, peak 1.00, p 0.88" in caption_of(tab)
    assert f"val_1, worst of 3: mean mIoU 30 % · 3 of {count}" in caption_of(tab)
    size = box.locator("img").bounding_box()
    assert size["height"] > 500  # the tile has 117 pixels
    tab.keyboard.press("ArrowRight")
    assert "CAM of <b>, peak 0.50, p 0.25" in caption_of(tab)
    for _ in range(4):  # before the first comes the last
        tab.keyboard.press("ArrowLeft")
    assert f"{count} of {count}" in caption_of(tab)
    box.get_by_label("next image").click()
    assert f"1 of {count}" in caption_of(tab)
    tab.keyboard.press("Escape")
    assert box.count() == 0
    assert links.nth(0).evaluate("link => link === document.activeElement")


def test_images_are_enlarged_on_a_phone_and_even_without_their_folder(opened, tmp_path):
    tab = opened(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    for path in (tmp_path / "page_files").iterdir():
        path.unlink()
    links = tab.locator("details[open] .strip a")
    links.nth(0).tap()
    image = tab.locator("dialog[open] img")
    assert image.bounding_box()["width"] == 390
    tab.wait_for_function("document.querySelector('dialog img').naturalWidth > 0")
    assert image.get_attribute("src").startswith("data:")
    for label in ("previous image", "next image", "close"):
        button = tab.get_by_label(label, exact=True).bounding_box()
        assert min(button["width"], button["height"]) >= 44
    tab.get_by_label("next image").tap()
    assert "true mask" in caption_of(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    tab.get_by_label("close", exact=True).tap()
    assert tab.locator("dialog[open]").count() == 0
