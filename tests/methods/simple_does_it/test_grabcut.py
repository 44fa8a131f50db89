import builtins
import sys

import numpy as np
import pytest
import torch
from facts import raises_naming

from wsss_lightning.errors import InputError
from wsss_lightning.methods.simple_does_it import grabcut as module
from wsss_lightning.methods.simple_does_it.boxes import Window, paint_boxes
from wsss_lightning.methods.simple_does_it.grabcut import (
    grabcut,
    paint_agreement,
    paint_grabcut,
    perturbed,
)
from wsss_lightning.ops.masks import IGNORE

pytest.importorskip("cv2", reason="OpenCV is an extra")


def boxes_of(*boxes) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)


def picture(*discs, height=60, width=80) -> torch.Tensor:
    """Noisy grey with discs (x, y, radius, colour) upon it."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(110, 8, (height, width, 3))
    for x, y, radius, colour in discs:
        inside = disc(x, y, radius, height, width)
        pixels[inside] = rng.normal(colour, 8, (inside.sum(), 3))
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))


def disc(x, y, radius, height=60, width=80) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


RED, GREEN = (200, 40, 40), (40, 180, 60)


def cut(boxes, image, iterations=3, context=None, min_fill=0.5):
    return paint_grabcut(boxes, image, iterations, context, min_fill).numpy()


def agreed(boxes, image, runs=7, min_fill=0.5, agree=(0.2, 0.7)):
    how = {"iterations": 2, "jitter": 0.05, "context": [0.1, 0.6]}
    return paint_agreement(boxes, image, runs=runs, agree=agree, min_fill=min_fill, **how).numpy()


@pytest.mark.parametrize("context", [None, 0.3])
def test_an_object_of_its_own_colour_is_cut_out_of_its_box(context):
    labels = cut(boxes_of((2, 20, 10, 61, 51)), picture((40, 30, 20, RED)), context=context)
    assert set(np.unique(labels)) == {0, 2}
    assert ((labels == 2) == disc(40, 30, 20)).mean() > 0.99


def test_nothing_outside_the_box_is_foreground_even_if_it_looks_so():
    labels = cut(boxes_of((1, 20, 10, 40, 51)), picture((40, 30, 20, RED)), min_fill=0.0)
    assert not labels[:, 40:].any()
    assert not labels[:, :20].any()


def test_the_segment_of_the_smaller_box_is_in_front():
    image = picture((40, 30, 25, RED), (40, 30, 9, GREEN))
    labels = cut(boxes_of((2, 31, 21, 50, 40), (1, 15, 5, 66, 56)), image)
    assert labels[30, 40] == 2
    assert labels[30, 20] == 1


def test_a_segment_that_fills_too_little_of_its_box_gives_way_to_the_box():
    boxes, image = boxes_of((1, 10, 5, 70, 55)), picture((40, 30, 8, RED))
    assert (cut(boxes, image, min_fill=0.0) == 1).sum() < 0.2 * 60 * 50
    assert (cut(boxes, image, min_fill=0.5) == paint_boxes(boxes, image).numpy()).all()


@pytest.mark.parametrize("box", [(1, 0, 0, 80, 60), (1, 3, 3, 5, 5), (1, -9, -9, 99, 99)])
def test_a_box_of_the_whole_image_or_of_few_pixels_is_painted_whole(box):
    image = picture((40, 30, 20, RED))
    boxes = boxes_of(box)
    assert (cut(boxes, image) == paint_boxes(boxes, image).numpy()).all()


@pytest.mark.parametrize("box", [(1, 90, 3, 99, 9), (1, 7, 3, 7, 9), (1, 9, 3, 5, 9)])
def test_a_box_without_a_pixel_leaves_no_trace(box):
    assert not cut(boxes_of(box), picture()).any()
    assert not agreed(boxes_of(box), picture()).any()


def test_a_flat_image_is_cut_without_complaint():
    flat = torch.full((20, 20, 3), 128, dtype=torch.uint8)
    labels = cut(boxes_of((1, 5, 5, 15, 15)), flat)
    assert set(np.unique(labels)) <= {0, 1}


def test_the_same_boxes_give_the_same_labels_whatever_was_cut_before():
    boxes, image = boxes_of((1, 20, 10, 61, 51)), picture((40, 30, 20, RED))
    first = cut(boxes, image), agreed(boxes, image)
    cut(boxes_of((1, 3, 3, 30, 30)), picture((20, 20, 10, GREEN)))
    assert (cut(boxes, image) == first[0]).all()
    assert (agreed(boxes, image) == first[1]).all()


def test_what_all_runs_agree_upon_has_its_class_and_the_rim_may_be_ignored():
    labels = agreed(boxes_of((2, 20, 10, 61, 51)), picture((40, 30, 20, RED)))
    assert set(np.unique(labels)) <= {0, 2, IGNORE}
    assert (labels[disc(40, 30, 16)] == 2).all()
    assert not labels[~disc(40, 30, 29)].any()


def votes(monkeypatch, shares, runs):
    """Runs of GrabCut in which pixel x is foreground in so many of them."""
    counts, done = np.array(shares), []

    def fake(image, window, iterations, context):
        done.append(window)
        return np.broadcast_to(counts >= len(done), image.shape[:2]).copy()

    monkeypatch.setattr(module, "grabcut", fake)
    image = torch.zeros(1, len(shares), 3, dtype=torch.uint8)
    boxes = boxes_of((3, 0, 0, len(shares), 1))
    return agreed(boxes, image, runs=runs, min_fill=0.0)[0].tolist()


def test_seven_votes_of_ten_make_the_class_and_two_leave_it_open(monkeypatch):
    assert votes(monkeypatch, [10, 7, 6, 2, 1, 0], 10) == [3, 3, IGNORE, IGNORE, 0, 0]


def test_where_too_little_is_class_or_open_the_box_is_filled(monkeypatch):
    monkeypatch.setattr(module, "grabcut", lambda image, *_: np.zeros(image.shape[:2], bool))
    image = torch.zeros(2, 3, 3, dtype=torch.uint8)
    assert agreed(boxes_of((1, 0, 0, 2, 2)), image).tolist() == [[1, 1, 0]] * 2


def test_a_perturbed_box_stays_near_and_inside_and_holds_a_pixel():
    rng = np.random.default_rng(0)
    window = Window(1, slice(10, 30), slice(0, 40))
    for _ in range(50):
        moved = perturbed(window, (60, 41), 0.05, rng)
        assert abs(moved.rows.start - 10) <= 1
        assert abs(moved.rows.stop - 30) <= 1
        assert 0 <= moved.columns.start <= 2
        assert 38 <= moved.columns.stop <= 41
    tiny = Window(1, slice(59, 60), slice(40, 41))
    moved = perturbed(tiny, (60, 41), 0.9, rng)
    assert moved.height >= 1
    assert moved.width >= 1


def test_foreground_is_found_inside_the_box_only():
    window = Window(1, slice(10, 51), slice(20, 61))
    found = grabcut(picture((40, 30, 20, RED)).numpy(), window, 2, 0.2)
    assert found.dtype == bool
    assert found.sum() > 1000
    found[window.rows, window.columns] = False
    assert not found.any()


def test_without_opencv_the_way_to_install_it_is_told(monkeypatch):
    imported = builtins.__import__

    def without(name, *rest, **more):
        if name == "cv2":
            raise ImportError("No module named 'cv2'")
        return imported(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with raises_naming(InputError, "pip install opencv-python-headless"):
        cut(boxes_of((1, 1, 1, 5, 5)), picture())
