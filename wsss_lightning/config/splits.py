"""The splits that a run reads."""

from omegaconf import DictConfig, OmegaConf, open_dict

from wsss_lightning.errors import InputError


def splits_of(data: DictConfig) -> list[str]:
    """Names of the splits that a run reads: train, and val where the data set has one.

    One name if a run is scored on its training split (`data.val=train`).
    """
    return list(dict.fromkeys(split for split in (data.train, data.val) if split is not None))


def normalise_splits(data: DictConfig) -> None:
    """Set `data.val` to None where the data set has no validation split, however that is written.

    A split whose list is null does not exist. It is removed from `dataset.lists`, and a `data.val`
    that names it becomes None.

    Raises:
        InputError: there is no training split.
    """
    lists = OmegaConf.select(data, "dataset.lists")
    if not isinstance(lists, DictConfig):
        raise InputError(
            f"data.dataset.lists is {'null' if lists is None else lists}, but every split needs a "
            "file with the names of its images; set data.dataset.lists.train=FILE, and "
            "data.dataset.lists.val=FILE or null."
        )
    absent = [split for split in lists if lists[split] is None]
    present = [split for split in lists if split not in absent]
    if data.train is None or data.train in absent:
        key = "data.train" if data.train is None else f"data.dataset.lists.{data.train}"
        known = f"; the splits with a list are {', '.join(map(str, present))}" if present else ""
        raise InputError(
            f"{key} is null, but a run needs a training split: set data.train to a key of "
            f"data.dataset.lists, and that key to a file of image names{known}."
        )
    if data.val in absent:
        data.val = None
    with open_dict(lists):
        for split in absent:
            del lists[split]
