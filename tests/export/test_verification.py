import numpy as np
import pytest
import torch
from facts import raises_naming

from wsss_lightning.errors import InputError
from wsss_lightning.export.network import ExportNetwork
from wsss_lightning.export.verification import TOLERANCE, compare, sample_batches, verify


@pytest.fixture
def network(small_model):
    return ExportNetwork(small_model(), ("logits", "mask"), False)


def outputs_for(network, image):
    with torch.no_grad():
        return network(image)


@pytest.mark.parametrize(
    ("change", "passes"),
    [(0.0, True), (0.9 * TOLERANCE, True), (1.1 * TOLERANCE, False), (float("nan"), False)],
)
def test_a_difference_passes_up_to_the_tolerance(network, change, passes):
    logits = torch.zeros(1, 3, 4, 4)
    logits[0, 1] = 0.5
    mask = logits.argmax(1).to(torch.uint8)
    changed = logits.clone()
    changed[0, 2, 3, 3] += change
    agreement = compare(network, (logits, mask), (changed, mask), (1, 4, 4))
    assert agreement.passes == passes
    assert agreement.allowed == {"logits": TOLERANCE}


def test_the_tolerance_grows_with_the_values_above_one(network):
    logits = torch.full((1, 3, 2, 2), 200.0)
    mask = torch.zeros(1, 2, 2, dtype=torch.uint8)
    agreement = compare(network, (logits, mask), (logits + 0.019, mask), (1, 2, 2))
    assert agreement.allowed["logits"] == pytest.approx(200 * TOLERANCE)
    assert agreement.passes


def test_pixels_with_other_labels_count(network):
    logits = torch.zeros(1, 3, 10, 10)
    mask = torch.zeros(1, 10, 10, dtype=torch.uint8)
    other = mask.clone()
    other[0, 0, 0] = 2
    agreement = compare(network, (logits, mask), (logits, other), (1, 10, 10))
    assert agreement.equal_pixels == pytest.approx(0.99)
    assert not agreement.passes


def test_outputs_of_another_shape_or_type_are_refused(network):
    image = torch.rand(1, 3, 64, 64)
    logits, mask = outputs_for(network, image)
    for wrong in ((logits[..., 1:], mask), (logits, mask.long()), (logits,)):
        with raises_naming(InputError, "outputs", "nothing was written"):
            verify(network, lambda _image, wrong=wrong: wrong, [image])


def test_a_failing_runtime_is_named_with_the_size(network):
    def run(image):
        raise RuntimeError("index out of bounds\nmany lines")

    with raises_naming(InputError, "index out of bounds", "2 x 64 x 70", "--fixed-size"):
        verify(network, run, [torch.rand(2, 3, 64, 70)])


def test_images_have_sizes_of_both_kinds_and_two_batch_sizes():
    shapes = [tuple(batch.shape) for batch in sample_batches((100, 150), False)]
    assert shapes == [(1, 3, 96, 160), (2, 3, 107, 181)]
    assert [tuple(one.shape) for one in sample_batches((100, 150), True)] == [(1, 3, 100, 150)]
    for batch in sample_batches((64, 64), False):
        assert 0 <= batch.min() < 0.3 < 0.7 < batch.max() <= 1
    first, second = sample_batches((64, 64), False)[1]
    assert not torch.equal(first, second)


def test_photos_are_resized_for_the_comparison():
    photos = [np.full((50, 70, 3), level, np.uint8) for level in (51, 102)]
    one, two = sample_batches((64, 96), False, photos)
    assert one.unique().tolist() == pytest.approx([0.2], abs=1e-6)
    assert [image.mean().item() for image in two] == pytest.approx([0.4, 0.2], abs=1e-6)
    assert (one.shape, two.shape) == ((1, 3, 64, 96), (2, 3, 75, 117))
