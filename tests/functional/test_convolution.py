import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.functional import convolution
from wsss_lightning.functional.convolution import conv3x3

WIDE = 256


@pytest.fixture
def always(monkeypatch):
    """Tiles even where they do not pay, so that small maps show what they do."""
    monkeypatch.setattr(convolution, "_pays", lambda *_: True)


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (13, 10), (16, 9)])
def test_tiles_give_the_convolution_and_its_gradients(always, size, dilation):  # reference
    maps = torch.randn(2, 5, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(maps, weight, padding=dilation, dilation=dilation)
    found = conv3x3(maps, weight, dilation)
    slope = torch.randn_like(expected)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, (maps, weight), slope),
        torch.autograd.grad(expected, (maps, weight), slope),
    )


@pytest.mark.parametrize("block", [1, 3, 100])
def test_blocks_of_filters_change_nothing(always, monkeypatch, block):
    parts = [slice(start, min(7, start + block)) for start in range(0, 7, block)]
    monkeypatch.setattr(convolution, "_blocks", lambda n, d: parts)
    test_tiles_give_the_convolution_and_its_gradients(None, (13, 10), 2)


def test_gradients_of_the_tiles_are_right(always):  # gradcheck
    maps = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, w: conv3x3(m, w, 2), (maps, weight))


@pytest.mark.parametrize("wanted", [("maps",), ("weight",)])
def test_one_gradient_can_be_had_without_the_other(always, wanted):
    maps = torch.randn(1, 4, 9, 9, requires_grad="maps" in wanted)
    weight = torch.randn(3, 4, 3, 3, requires_grad="weight" in wanted)
    conv3x3(maps, weight, 1).sum().backward()
    assert (maps.grad is not None) == ("maps" in wanted)
    assert (weight.grad is not None) == ("weight" in wanted)


@given(seed=st.integers(0, 1000), channels_last=st.booleans())
def test_single_precision_keeps_five_digits(seed, channels_last):  # property
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(1, WIDE, 40, 40, generator=generator).relu()
    weight = torch.randn(WIDE, WIDE, 3, 3, generator=generator) / 48
    if channels_last:
        maps = maps.contiguous(memory_format=torch.channels_last)
    assert convolution._pays(maps, weight, 1)
    exact = F.conv2d(maps.double(), weight.double(), padding=1)
    error = (conv3x3(maps, weight, 1) - exact).abs().max() / exact.abs().max()
    assert error < 2e-5


@pytest.mark.parametrize(
    ("shape", "filters", "dilation", "tiled"),
    [
        ((1, 512, 56, 56), 512, 1, True),
        ((1, 1024, 56, 56), 2048, 4, True),
        ((1, 64, 224, 224), 64, 1, False),  # narrow: transforms cost as much as they save
        ((1, 512, 17, 17), 512, 1, False),  # few tiles: so does the filters' transform
        ((8, 512, 5, 5), 512, 4, False),  # most of what tiles cover is padding
    ],
)
def test_tiles_are_taken_where_they_pay(shape, filters, dilation, tiled):
    with torch.device("meta"):
        maps, weight = torch.zeros(shape), torch.zeros(filters, shape[1], 3, 3)
    assert convolution._pays(maps, weight, dilation) == tiled
