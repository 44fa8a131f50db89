"""Operations that replace others while a network is traced equal them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import padding

from wsss_lightning.export import program
from wsss_lightning.methods.seam.correlation import pixel_correlation

side = st.integers(1, 40)


@given(side, side, st.integers(1, 7), st.integers(1, 4), st.integers(1, 3))
def test_padding_equals_that_of_timm(height, width, kernel, stride, dilation):
    image = torch.arange(height * width).float().view(1, 1, height, width)
    given = ((kernel, kernel), (stride, stride), (dilation, dilation), 0.5)
    ours, theirs = program.pad_same(image, *given), padding.pad_same(image, *given)
    assert torch.equal(ours, theirs)


@given(side, side, st.sampled_from([1, 2, 3, 6, (2, 5), (None, 3), (1, 1)]))
def test_pooling_equals_that_of_pytorch(height, width, cells):
    maps = torch.rand(2, 3, height, width)
    torch.testing.assert_close(
        program.adaptive_avg_pool2d(maps, cells), F.adaptive_avg_pool2d(maps, cells)
    )


def test_the_correlation_of_seam_equals_the_one_in_blocks():
    maps, features = torch.rand(2, 3, 5, 7), torch.randn(2, 4, 5, 7)
    torch.testing.assert_close(
        program.pixel_correlation(maps, features, 0.001), pixel_correlation(maps, features, 0.001)
    )


def test_operations_are_put_back_even_after_an_error():
    before = (F.adaptive_avg_pool2d, program.seam.pixel_correlation)

    def fail():
        with program.exportable_operations():
            assert F.adaptive_avg_pool2d is program.adaptive_avg_pool2d
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (F.adaptive_avg_pool2d, program.seam.pixel_correlation) == before
