"""Tiles cover an image, and their logits are blended without seams."""

from itertools import pairwise

import pytest
import torch
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from wsss_lightning.predict.tiling import GRID, Tiled, tiles


class Counting(nn.Module):
    """Logits that depend on each pixel alone; notes the sizes of its inputs."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, image):
        self.sizes.append(tuple(image.shape[-2:]))
        return torch.cat([image, 1 - image], 1)


@given(
    st.integers(1, 5000),
    st.integers(2, 40).map(lambda n: n * GRID),
    st.sampled_from([0.0, 0.1, 0.25, 0.5]),
)
def test_tiles_cover_every_pixel_and_overlap(side, tile, overlap):
    found = tiles(side, tile, overlap)
    assert found[0][0] == 0
    assert found[-1][1] == side
    assert all(start % GRID == 0 for start, _ in found)
    for (start, end), (following, _) in pairwise(found):
        assert start < following
        assert end - following >= tile * overlap - GRID
        assert end >= following
    assert all(end - start < tile + GRID for start, end in found)


@pytest.mark.parametrize("size", [(50, 64), (200, 64), (131, 257)])
def test_a_network_of_single_pixels_is_unchanged_by_tiling(size):
    image, network = torch.rand(2, 3, *size), Counting()
    tiled = Tiled(network, 64, 0.25)(image)
    torch.testing.assert_close(tiled, Counting()(image))
    assert max(max(sides) for sides in network.sizes) < 64 + GRID
    assert (len(network.sizes) == 1) == (max(size) <= 64)


def test_what_a_tile_knows_least_counts_least():
    """A network whose logits are 1 at the border of its input and 0 elsewhere."""

    class Border(nn.Module):
        def forward(self, image):
            logits = torch.zeros_like(image[:, :1])
            logits[..., 0] = logits[..., -1] = 1
            return logits

    logits = Tiled(Border(), 64, 0.5)(torch.zeros(1, 3, 32, 160))[0, 0, 0]
    assert logits[0] == logits[-1] == 1  # borders of the image itself
    assert logits[1:-1].max() < 0.05


def test_values_out_of_range_are_named():
    with raises_naming(ValueError, "tile", 10, 64):
        Tiled(nn.Identity(), 10, 0.25)
    with raises_naming(ValueError, "overlap", 0.7, "[0, 0.5]"):
        Tiled(nn.Identity(), 64, 0.7)
