import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torchvision.transforms.v2 import functional as images

from wsss_lightning.ops.resize import (
    cells_to_image,
    grid_side,
    resize,
    resize_to,
    resized_mean,
)


def test_a_side_is_rounded_down_as_by_interpolate():
    maps = torch.rand(1, 2, 448, 9)
    small = resize(maps, 0.3)
    assert small.shape == (1, 2, 134, 2)
    direct = F.interpolate(maps, scale_factor=0.3, mode="bilinear", align_corners=True)
    torch.testing.assert_close(small, direct)


def test_no_side_vanishes():
    assert resize(torch.rand(1, 1, 3, 20), 0.1).shape == (1, 1, 1, 2)


def test_corners_stay_corners():
    maps = torch.rand(2, 3, 5, 4)
    large = resize_to(maps, (17, 12))
    torch.testing.assert_close(
        large[..., [0, 0, -1, -1], [0, -1, 0, -1]], maps[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    )


def test_a_ramp_stays_a_ramp():  # closed form
    ramp = torch.linspace(0, 1, 4).expand(1, 1, 4, 4)
    expected = torch.linspace(0, 1, 10).expand(1, 1, 10, 10)
    torch.testing.assert_close(resize_to(ramp, (10, 10)), expected)


@given(side=st.integers(1, 900), scale=st.floats(0.25, 2.0), stride=st.sampled_from([4, 8, 16, 32]))
def test_the_side_of_a_grid_is_the_nearest_one_that_cells_end_on(side, scale, stride):
    found = grid_side(side, scale, stride)
    assert found % stride == 1
    assert found > stride
    others = [stride * n + 1 for n in range(1, 1 + 1800 // stride + 2)]
    assert abs(found - side * scale) == min(abs(other - side * scale) for other in others)


@given(
    cells=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    stride=st.sampled_from([4, 8, 16]),
    data=st.data(),
)
def test_a_cell_peaks_at_its_own_pixel_of_the_image(cells, stride, data):
    cell = [data.draw(st.integers(0, n - 1)) for n in cells]
    size = tuple(grid_side(stride * (n - 1), 1.0, stride) for n in cells)
    maps = torch.zeros(1, 1, *cells)
    maps[0, 0, cell[0], cell[1]] = 1
    large = resize_to(maps, size)[0, 0]
    peak = divmod(int(large.argmax()), size[1])
    assert peak == (stride * cell[0], stride * cell[1])
    assert large[peak] == pytest.approx(1)


def test_symmetrically_padded_strides_keep_a_centred_pattern_centred():
    net = nn.Sequential(*[nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False) for _ in range(3)])
    for layer in net:
        nn.init.ones_(layer.weight)
    side = grid_side(64, 1.0, 8)
    image = torch.rand(1, 1, side, side)
    maps, mirrored = net(image), net(image.flip(-1))
    assert maps.shape[-1] == 9
    torch.testing.assert_close(mirrored.flip(-1), maps)


@given(
    h=st.integers(1, 8), w=st.integers(1, 8), height=st.integers(1, 40), width=st.integers(1, 40)
)
def test_the_mean_of_a_map_once_resized_needs_no_resizing(h, w, height, width):  # property
    maps = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(h + 9 * w))
    expected = resize_to(maps, (height, width)).mean((-2, -1))
    torch.testing.assert_close(resized_mean(maps, (height, width)), expected)


@given(
    sides=st.tuples(st.integers(40, 700), st.integers(40, 700)),
    scale=st.floats(0.15, 2.0),
    stride=st.sampled_from([4, 8, 16]),
    finer=st.sampled_from([1, 2]),
    kind=st.sampled_from(["points", "blocks"]),
)
def test_what_cells_see_of_a_resized_image_returns_to_its_place(sides, scale, stride, finer, kind):
    view = tuple(grid_side(side, scale, stride) for side in sides)
    places = torch.stack(torch.meshgrid(*map(torch.arange, sides), indexing="ij")).float()[None]
    seen = images.resize_image(places, list(view), antialias=True)
    step = stride // finer  # of an earlier layer, where finer is 2
    maps = seen[..., ::step, ::step] if kind == "points" else F.avg_pool2d(seen, step)
    assume(kind == "points" or min(maps.shape[-2:]) > 2)  # two may lie at points or in blocks
    back = cells_to_image(maps, view, sides, stride)
    # at the rim the antialiasing filter is cut off, and beyond the outermost cells all is alike
    cut = [int(1.6 * step * max(side / v, 1)) + 3 for side, v in zip(sides, view, strict=True)]
    off = (back - places)[..., cut[0] : -cut[0], cut[1] : -cut[1]]
    assume(off.numel() > 0)
    assert float(off.abs().max()) < 0.1  # pixels of the image


def test_one_cell_is_the_same_everywhere():
    cell = torch.full((1, 1, 1, 1), 3.0)
    assert torch.equal(cells_to_image(cell, (9, 9), (4, 5), 16), cell.expand(1, 1, 4, 5))


def test_cells_keep_their_precision_where_it_is_low():
    maps = torch.rand(1, 1, 9, 9).bfloat16()
    low = cells_to_image(maps, (129, 129), (400, 500), 16)
    assert low.dtype == torch.bfloat16
    exact = cells_to_image(maps.float(), (129, 129), (400, 500), 16)
    assert torch.equal(low, exact.bfloat16())
