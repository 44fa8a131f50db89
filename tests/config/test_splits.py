import pytest
from omegaconf import OmegaConf

from wsss_lightning.config.splits import normalise_splits, splits_of
from wsss_lightning.errors import InputError


def data_of(**changed):
    lists = {"train": "train.txt", "val": "val.txt", "test": None} | changed.pop("lists", {})
    data = OmegaConf.create(
        {"train": "train", "val": "val", "dataset": {"lists": lists}, **changed}
    )
    OmegaConf.set_struct(data, True)  # as Hydra composes it
    return data


@pytest.mark.parametrize(
    "changed",
    [
        {"val": None},
        {"lists": {"val": None}},
        {"val": None, "lists": {"val": None}},
        {"val": "test"},
    ],
)
def test_a_validation_split_that_is_null_in_any_way_is_none(changed):
    data = data_of(**changed)
    normalise_splits(data)
    assert data.val is None
    assert splits_of(data) == ["train"]
    assert None not in data.dataset.lists.values()
    assert data.dataset.lists.train == "train.txt"


def test_a_run_reads_each_split_once():
    data = data_of()
    normalise_splits(data)
    assert splits_of(data) == ["train", "val"]
    assert splits_of(data_of(val="train")) == ["train"]


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"train": None}, "data.train"),
        ({"lists": {"train": None}}, "data.dataset.lists.train"),
        ({"train": "test"}, "data.dataset.lists.test"),
        ({"dataset": {"lists": None}}, "data.dataset.lists"),
    ],
)
def test_a_run_without_a_training_split_is_refused(changed, key):
    with pytest.raises(InputError) as error:
        normalise_splits(data_of(**changed))
    assert f"{key} is null" in str(error.value)
