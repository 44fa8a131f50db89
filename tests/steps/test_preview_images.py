"""Which images a preview shows, and the pictures of an image after each step."""

import numpy as np
import pytest
import torch
from commands import VOC_IDS, write_voc
from facts import raises_naming
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

import wsss_lightning.steps.previews
from wsss_lightning.data.scores import save_mask, save_score
from wsss_lightning.data.tag_probabilities import save_probabilities
from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.pixel_counts import PixelCountWriter
from wsss_lightning.figures.overlays import confidence_overlay, heat_overlay, mask_overlay
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.steps.preview_images import (
    Ranking,
    StepFolders,
    choose_images,
    evenly_spaced,
    identical_columns,
    merge_columns,
    preview_row,
    ranked_notes,
    ranking_by_miou,
    ranking_by_quality,
)
from wsss_lightning.steps.previews import previews

CLASSES = list(VOC_IDS)
CAT, DOG = 2, 3  # labels


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six training images of VOC's layout; train_1 and train_5 show two classes."""
    root = write_voc(tmp_path_factory.mktemp("set") / "voc")
    dataset = {
        "_target_": "wsss_lightning.data.dataset.VOCDataset",
        "_partial_": True,
        "root": str(root),
        "classes": CLASSES,
        "lists": {split: f"ImageSets/Segmentation/{split}.txt" for split in ("train", "val")},
        "tags": "tags.csv",
        "mask_ids": {0: "background", **{i: name for name, i in VOC_IDS.items()}},
        "image_dir": "JPEGImages",
        "mask_dir": "SegmentationClass",
        "annotation_dir": "Annotations",
        "on_missing_labels": "background",
    }
    return OmegaConf.create({"name": "voc", "train": "train", "val": "val", "dataset": dataset})


@pytest.fixture(scope="module")
def dataset(data):
    return instantiate(data.dataset)(split="train")


def two_classes(dataset):
    """Index and size of the image that shows cat and dog."""
    i = next(i for i, tags in enumerate(dataset.tags) if tags.tolist() == [0, 1, 1])
    return i, dataset.image_size(i)


# choice


@pytest.mark.parametrize(("length", "count"), [(1, 8), (5, 8), (6, 2), (300, 8)])
def test_images_are_spread_from_the_first_to_the_last(length, count):
    shown = evenly_spaced(length, count)
    assert len(shown) == min(length, count)
    assert shown[0] == 0
    assert shown[-1] == length - 1 or count == 1
    assert np.ptp(np.diff(shown)) <= 1 if len(shown) > 1 else True


def naive_miou(mask, truth):
    known = truth != IGNORE
    ious = [
        ((mask == k) & (truth == k)).sum() / (((mask == k) | (truth == k)) & known).sum()
        for k in np.unique(truth[known])
    ]
    return np.mean(ious)


def test_the_worst_and_the_best_of_all_images_are_added_with_their_miou(dataset, tmp_path):
    rng, writer, mious = np.random.default_rng(3), PixelCountWriter(len(CLASSES) + 1), {}
    for i, name in enumerate(dataset.names):
        truth = dataset.mask(i)
        mask = np.where(rng.random(truth.shape) < rng.random(), truth % IGNORE, 0).astype(np.uint8)
        writer.add(name, torch.from_numpy(mask), torch.from_numpy(truth))
        mious[name] = naive_miou(mask, truth)
    writer.save(tmp_path)
    ranking = ranking_by_miou(tmp_path, "pseudo mask")
    assert ranking.values == pytest.approx(mious)
    by_miou = sorted(mious, key=mious.get)
    chosen = choose_images(dataset, 2, ranking)
    evenly = [dataset.names[0], dataset.names[-1]]
    added = [name for name in (by_miou[0], by_miou[-1]) if name not in evenly]
    assert [dataset.names[choice.index] for choice in chosen] == [*evenly, *added]
    notes = {dataset.names[choice.index]: choice.note for choice in chosen}
    for name, place in ((by_miou[0], "worst"), (by_miou[-1], "best")):
        assert notes[name] == f"{place} of 6: mIoU of the pseudo mask {100 * mious[name]:.0f} %"
    assert all(not notes[name] for name in evenly if name not in (by_miou[0], by_miou[-1]))


def test_a_quarter_as_many_of_the_worst_and_of_the_best_are_added():
    ranking = Ranking("quality", {f"{i:03}": i / 100 for i in range(100)})
    notes = ranked_notes(ranking, 3)
    assert list(notes) == ["000", "001", "002", "099", "098", "097"]
    places = ["worst", "2nd worst", "3rd worst", "best", "2nd best", "3rd best"]
    assert [note.partition(" of 100: ")[0] for note in notes.values()] == places
    assert notes["001"].endswith("quality 1 %")


def test_few_images_are_not_both_worst_and_best():
    notes = ranked_notes(Ranking("mIoU", {"a": 0.1, "b": 0.5, "c": 0.9}), 2)
    assert {name: note.split(" of ")[0] for name, note in notes.items()} == {
        "a": "worst",
        "b": "2nd worst",
        "c": "best",
    }


def test_images_without_a_tag_are_not_ranked(dataset):
    changed = dataset.view()
    changed.tags = dataset.tags.clone()
    changed.tags[1] = 0
    ranking = Ranking("mIoU", dict.fromkeys(dataset.names, 0.5) | {dataset.names[1]: 0.0})
    chosen = choose_images(changed, 2, ranking)
    assert 1 not in [choice.index for choice in chosen]
    assert all("of 5" in choice.note for choice in chosen if choice.note)


def test_without_true_masks_images_are_ranked_by_quality_if_it_is_known(dataset, tmp_path):
    assert ranking_by_miou(tmp_path, "pseudo mask") is None
    table = tmp_path / "quality.csv"
    rows = [f"{name},,{i / 10},x" for i, name in enumerate(dataset.names)]
    table.write_text("\n".join(["name,class,quality,entropy", "train_0,cat,0.99,x", *rows]))
    ranking = ranking_by_quality(tmp_path)
    assert ranking.values == {name: i / 10 for i, name in enumerate(dataset.names)}
    assert [choice.index for choice in choose_images(dataset, 1, ranking)] == [0, 5]
    assert choose_images(dataset, 2, None) == choose_images(dataset, 2, Ranking("quality", {}))
    table.write_text("name,class,quality\n")
    assert ranking_by_quality(tmp_path) is None


# pictures


def save_seeds(folder, dataset, keep):
    """CAM scores of each image: the n-th class is highest at the n-th quarter of its width."""
    for i, name in enumerate(dataset.names):
        labels = [c + 1 for c in np.flatnonzero(dataset.tags[i].numpy()) if keep(c + 1)]
        height, width = dataset.image_size(i)
        score = np.zeros((len(labels), height, width), np.float32)
        for n in range(len(labels)):
            score[n, :, n * width // 4 : (n + 1) * width // 4] = 1 - 0.4 * n
        save_score(folder / f"{name}.npz", score, np.array(labels, int), bits=16)
    return folder


def test_an_image_of_two_classes_has_a_heat_map_of_each(dataset, tmp_path):
    i, (height, width) = two_classes(dataset)
    seeds = save_seeds(tmp_path, dataset, lambda _: True)
    known = {dataset.names[i]: {"bird": 0.01, "cat": 0.875, "dog": 0.25}}
    row, _ = preview_row(dataset, i, StepFolders({}, seeds, probabilities=known))
    cat, dog = row["CAM"]
    assert cat.label == "cat: peak 1.00, p 0.88"
    assert dog.label == "dog: peak 0.60, p 0.25"
    image, expected = np.asarray(dataset.image(i)), np.zeros((2, height, width), np.float32)
    expected[0, :, : width // 4], expected[1, :, width // 4 : width // 2] = 1, 0.6
    for tile, score in zip((cat, dog), expected, strict=True):
        difference = tile.image.astype(int) - heat_overlay(image, score)
        assert np.abs(difference).max() <= 1  # scores are stored in bins


def test_a_tag_without_evidence_has_an_empty_heat_map(dataset, tmp_path):
    i, size = two_classes(dataset)
    seeds = save_seeds(tmp_path, dataset, lambda label: label != DOG)
    row, _ = preview_row(dataset, i, StepFolders({}, seeds))
    assert [tile.label for tile in row["CAM"]] == ["cat: peak 1.00", "dog: peak 0.00"]
    blank = heat_overlay(np.asarray(dataset.image(i)), np.zeros(size, np.float32))
    assert (row["CAM"][1].image == blank).all()


def test_an_image_without_tags_has_one_empty_heat_map(dataset, tmp_path):
    changed = dataset.view()
    changed.tags = torch.zeros_like(dataset.tags)
    seeds = save_seeds(tmp_path, changed, lambda _: True)
    row, _ = preview_row(changed, 0, StepFolders({}, seeds))
    assert [tile.label for tile in row["CAM"]] == ["no tag"]


def test_confidence_is_the_probability_of_the_most_probable_label(dataset, tmp_path):
    i, (height, width) = two_classes(dataset)
    cat = np.linspace(0, 1, width, dtype=np.float32)[None].repeat(height, 0)
    marginals = np.stack([1 - cat, cat])
    save_score(tmp_path / f"{dataset.names[i]}.npz", marginals, np.array([0, CAT]), bits=16)
    row, _ = preview_row(dataset, i, StepFolders({}, marginals=tmp_path))
    (tile,) = row["confidence"]
    expected = np.maximum(cat, 1 - cat)
    overlay = confidence_overlay(np.asarray(dataset.image(i)), expected)
    assert np.abs(tile.image.astype(int) - overlay).max() <= 1
    assert tile.label == f"mean {expected.mean():.2f}"


def test_masks_have_their_miou_and_identical_columns_become_one(dataset, tmp_path):
    rng, rows, masks = np.random.default_rng(0), [], []
    folders = {heading: tmp_path / heading for heading in ("CRF", "pseudo mask", "prediction")}
    for i, name in enumerate(dataset.names):
        refined = rng.integers(0, 4, dataset.image_size(i)).astype(np.uint8)
        save_mask(folders["CRF"] / f"{name}.png", refined)
        save_mask(folders["pseudo mask"] / f"{name}.png", refined)
        other = refined.copy()
        other[0, 0] = 3 - other[0, 0] if i == 4 else other[0, 0]  # a single pixel of one image
        save_mask(folders["prediction"] / f"{name}.png", other)
        row, of_steps = preview_row(dataset, i, StepFolders(folders))
        (tile,) = row["CRF"]
        assert tile.label == f"mIoU {100 * naive_miou(refined, dataset.mask(i)):.0f} %"
        assert (tile.image == mask_overlay(np.asarray(dataset.image(i)), refined)).all()
        rows.append(row)
        masks.append(of_steps)
    groups = identical_columns(masks)
    assert groups == [["CRF", "pseudo mask"], ["prediction"]]
    merged = merge_columns(rows, groups)
    assert list(merged[0]) == ["image", "truth", "CRF = pseudo mask", "prediction"]
    assert merged[0]["CRF = pseudo mask"] == rows[0]["CRF"]
    assert identical_columns(masks[:4]) == [["CRF", "pseudo mask", "prediction"]]
    assert identical_columns([]) == []


def test_a_column_that_some_rows_lack_equals_no_full_one():
    mask = np.zeros((2, 2), np.uint8)
    rows = [{"a": mask, "b": mask, "c": mask}, {"a": mask}]
    assert identical_columns(rows) == [["a"], ["b", "c"]]


# the page


def test_a_preview_shows_all_of_this(data, dataset, tmp_path):
    seeds = save_seeds(tmp_path / "seeds", dataset, lambda _: True)
    masks, probabilities = tmp_path / "masks", tmp_path / "probabilities"
    for i, name in enumerate(dataset.names):
        save_mask(masks / f"{name}.png", dataset.mask(i))
    rows = dict.fromkeys(dataset.names, [0.5] * len(CLASSES))
    save_probabilities(probabilities / "probabilities.csv", CLASSES, rows)
    folders = {"steps": {"a": masks, "b": masks}, "seeds": seeds, "probabilities": probabilities}
    sizes = {}
    for count in (1, 6):
        (tmp_path / f"{count}").mkdir()
        previews(tmp_path / f"{count}", data=data, split="train", count=count, **folders)
        with Image.open(tmp_path / f"{count}/train.png") as page:
            sizes[count] = page.size
    # image, truth, CAM and the merged masks; a second CAM where an image of two classes is shown
    one, two = (width // 160 for width, _ in (sizes[1], sizes[6]))
    assert (one, two) == (4, 5)
    assert sizes[6][1] > 5 * 100


def test_captions_say_tags_and_places_by_quality(data, dataset, tmp_path, monkeypatch):
    captions = []

    def record(rows, above, *others):
        captions.extend(above)
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr(wsss_lightning.steps.previews, "image_grid", record)
    rows = [f"{name},,0.{i + 1}" for i, name in enumerate(dataset.names)]
    (tmp_path / "quality.csv").write_text("\n".join(["name,class,quality", *rows]))
    how = {"steps": {}, "quality": tmp_path, "evaluation": tmp_path, "evaluated": "pseudo mask"}
    previews(tmp_path, data=data, split="train", count=1, **how)
    assert captions == [
        "train_0   tags: bird   worst of 6: estimated quality 10 %",
        "train_5   tags: dog   best of 6: estimated quality 60 %",
    ]


def test_a_damaged_table_of_probabilities_is_named(data, dataset, tmp_path):
    seeds = save_seeds(tmp_path / "seeds", dataset, lambda _: True)
    (tmp_path / "probabilities.csv").write_text("name,bird\ntrain_0,1.5\n")
    with raises_naming(InputError, tmp_path / "probabilities.csv", "train_0", "[0, 1]"):
        previews(
            tmp_path,
            data=data,
            split="train",
            count=1,
            steps={},
            seeds=seeds,
            probabilities=tmp_path,
        )
