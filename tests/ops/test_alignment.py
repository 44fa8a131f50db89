import numpy as np
import pytest
import torch
from PIL import Image

from wsss_lightning.ops.alignment import map_sizes, place, view_of


def photo(height, width):
    """An image of 8 bits, as (H W 3) and as a float tensor (1 3 H W)."""
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    return pixels, torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("alignment", ["irn", "psa"])
@pytest.mark.parametrize("scale", [0.5, 0.64, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("size", [(75, 100), (113, 90)])
def test_views_of_official_codes_are_pillows_to_the_last_bit(size, scale, alignment):
    pixels, image = photo(*size)
    height, width = (int(np.round(side * scale)) for side in size)  # halves to the even side
    wanted = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    found = view_of(image, scale, alignment, stride=16)
    assert found.shape == (1, 3, height, width)
    assert ((found[0] * 255).round().permute(1, 2, 0).numpy() == wanted).all()
    assert found.max() <= 1


def test_aligned_views_end_on_a_cell():
    _, image = photo(75, 100)
    assert view_of(image, 0.5, "aligned", 16).shape == (1, 3, 33, 49)
    assert view_of(image, 0.5, "psa", 16).shape == (1, 3, 38, 50)


def test_a_view_has_a_pixel_at_least():
    _, image = photo(1, 200)
    assert view_of(image, 0.25, "psa", 16).shape == (1, 3, 1, 50)


@pytest.mark.parametrize(("size", "strided"), [((375, 500), (94, 125)), ((64, 65), (16, 17))])
def test_strided_cams_have_a_cell_for_each_four_pixels(size, strided):  # I6
    assert map_sizes(size, "irn") == {"score": size, "strided": strided}
    assert map_sizes(size, "psa") == map_sizes(size, "aligned") == {"score": size}
    cells = tuple(-(-side // 16) for side in size)
    placed = place(torch.rand(1, 2, *cells), size, size, "irn", 16, flip=False)
    assert {name: tuple(maps.shape) for name, maps in placed.items()} == {
        "score": (1, 2, *size),
        "strided": (1, 2, *strided),
    }


def ramps(size, stride):
    """Maps whose cells hold the pixel that they are centred at, down and across, then mirrored."""
    height, width = size
    down = torch.arange(0.0, height, stride)
    across = torch.arange(0.0, width, stride)
    maps = torch.stack(torch.meshgrid(down, across, indexing="ij"))
    mirrored = maps.clone()
    mirrored[1] = width - 1 - mirrored[1]  # cells of the mirrored view lie at these pixels
    return torch.stack([maps, mirrored])


@pytest.mark.parametrize(
    ("alignment", "stride", "size", "low", "right"),
    [
        ("aligned", 16, (97, 129), 0.0, 0.0),
        ("aligned", 8, (97, 129), 0.0, 0.0),
        ("psa", 8, (96, 128), 3.5, 0.0),
        ("psa", 16, (96, 128), 7.5, 0.0),
        ("irn", 16, (96, 128), 7.5, 0.0),
        # cells that end on the last pixel of a view are where those of the mirrored view are
        ("irn", 16, (97, 129), 7.5, 7.5),
    ],
)
def test_official_maps_lie_low_by_half_a_cell_and_mirrored_views_undo_it_across(
    alignment, stride, size, low, right
):  # closed form
    placed = place(ramps(size, stride), size, size, alignment, stride, flip=True)["score"] / 2
    y, x = torch.meshgrid(*(torch.arange(float(side)) for side in size), indexing="ij")
    inner = (slice(stride, -stride), slice(stride, -stride))
    torch.testing.assert_close(placed[0, 0][inner], (y - low)[inner])
    torch.testing.assert_close(placed[0, 1][inner], (x - right)[inner])


def test_without_mirrors_maps_lie_as_far_right_as_low():
    placed = place(ramps((96, 128), 16)[:1], (96, 128), (96, 128), "psa", 16, flip=False)
    x = torch.arange(16.0, 112.0)
    torch.testing.assert_close(placed["score"][0, 1, 40, 16:112], x - 7.5)
