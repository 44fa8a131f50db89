"""Learning from boxes through the command line: rounds, what they leave, and bad boxes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import SMALL, TINY, edit, kill_when, start
from PIL import Image
from test_benchmarks import command

pytestmark = pytest.mark.slow

ROUNDS = ("pipeline.rounds=2", "pipeline.epochs=1", "pipeline.min_change=null")


def labels_of(run, r: int) -> dict[str, bytes]:
    folder = run.folder / f"round_{r}/labels"
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def test_each_round_leaves_its_labels_their_scores_and_how_much_they_changed(here, shared):
    run = here("experiment=box", *TINY, *ROUNDS, folder=shared)
    kept = [labels_of(run, r) for r in range(3)]
    assert {len(labels) for labels in kept} == {12}
    assert kept[0] != kept[1]
    wanted = {f"round_{r}/labels/train/miou" for r in range(3)}
    wanted |= {f"round_{r}/labels/train/changed" for r in (1, 2)}
    wanted |= {f"round_{r}/segmentation/{s}/miou" for r in (1, 2) for s in ("train", "val")}
    assert wanted <= set(run.scores)
    assert "round_0/labels/train/changed" not in run.scores
    assert run.scores["pseudo/train/miou"] == run.scores["round_2/labels/train/miou"]
    # boxes of generated toys are no objects, and the CRF finds these within them
    assert run.scores["round_1/labels/train/miou"] > run.scores["round_0/labels/train/miou"]
    with Image.open(run.folder / "pictures/labels/train.png") as strip:
        assert strip.width > 5 * 200  # image, truth, boxes, two rounds
    assert (run.folder / "pictures/rounds/rounds.png").is_file()
    protocol = run.results["protocol"]
    assert run.results["supervision"] == "boxes"
    assert protocol["boxes_source"] == "xml"
    assert (protocol["box_labels"], protocol["relabel"]) == ("paint_boxes", "denoised")
    assert protocol["train_masks_used_for"] == ["scoring"]
    assert "round 2, labels mIoU" in run.out


def test_relabelling_never_leaves_the_boxes_unless_it_is_naive(here, shared):
    kept = here("experiment=box", *TINY, *ROUNDS, folder=shared)
    free = here("experiment=box_naive", *TINY, *ROUNDS, folder=shared)
    assert "round_1/segmentation found" in free.out  # both learn from the same boxes first

    def outside(run) -> int:
        count = 0
        for name in labels_of(run, 0):
            first, last = (load(run.folder / f"round_{r}/labels/{name}") for r in (0, 2))
            count += int(((first == 0) & (last != 0)).sum())
        return count

    assert outside(kept) == 0
    predictions, labels = (
        free.folder / f"round_1/{what}" for what in ("predictions/train", "labels")
    )
    same = [(load(predictions / n) == load(labels / n)).mean() for n in labels_of(free, 1)]
    assert np.mean(same) > 0.999  # marginals are stored with 16 bits, so a tie may fall otherwise


def load(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_rounds_end_on_a_plateau(here, shared):
    words = ("pipeline.rounds=4", "pipeline.epochs=1", "pipeline.min_change=1.0")
    run = here("experiment=box", *TINY, *words, folder=shared)
    assert "round_1/labels/train/miou" in run.scores
    assert not any(key.startswith("round_2") for key in run.scores)


def test_seeds_share_the_labels_of_round_0_and_nothing_behind_them(here, shared):
    first, other = (
        here("experiment=grabcut", *TINY, f"seed={seed}", folder=shared) for seed in (3, 4)
    )
    assert "round_0/labels       found" in other.out
    assert "segmentation         done" in other.out
    assert labels_of(first, 0) == labels_of(other, 0)


def test_the_seminars_reading_is_a_choice_of_the_same_loop(here, shared):
    words = ("relabel=smaller", "pipeline.training=finetune", *ROUNDS)
    run = here("experiment=box", *TINY, *words, folder=shared)
    assert run.results["protocol"]["relabel"] == "smaller"
    record = json.loads((run.folder / "round_2/segmentation/stage.json").read_text())
    assert record["inputs"]["start"].startswith("fit-")
    assert record["inputs"]["epochs_before"] == 1


def test_a_network_may_begin_each_round_afresh(here, shared):
    run = here("experiment=box", *TINY, *ROUNDS, "pipeline.training=scratch", folder=shared)
    record = json.loads((run.folder / "round_2/segmentation/stage.json").read_text())
    assert record["inputs"]["start"] is None


@pytest.mark.long
def test_a_run_killed_in_a_round_has_the_results_of_an_unbroken_one(here, tmp_path):
    words = ("experiment=box", *TINY, *ROUNDS[:1], "pipeline.min_change=null", "pipeline.epochs=4")
    killed, stages = tmp_path / "killed", tmp_path / "killed/runs/stages"
    kill_when(start(*words, folder=killed), stages, "fit-*.partial/last.ckpt")
    kill_when(start(*words, folder=killed), stages, "relabel-*/metrics.json")
    (first,) = (path.parent for path in stages.glob("relabel-*/metrics.json"))
    kill_when(start(*words, folder=killed), stages, "fit-*.partial/last.ckpt")  # in round 2
    assert not list(killed.rglob("results.json"))
    resumed = here(*words, folder=killed)
    assert "round_1/labels       found" in resumed.out
    unbroken = here(*words, folder=tmp_path / "unbroken")
    assert resumed.scores == unbroken.scores
    assert [labels_of(resumed, r) for r in range(3)] == [labels_of(unbroken, r) for r in range(3)]
    assert (resumed.folder / "round_1/labels").resolve().name == first.name.removesuffix(".partial")


def test_boxes_do_without_any_true_mask_of_the_training_split(here, mine, voc, tmp_path):
    words = ("experiment=box", *mine[1:], *ROUNDS)
    scored = here(*words)
    bare = shutil.copytree(voc, tmp_path / "bare")
    for mask in (bare / "SegmentationClass").glob("train_*.png"):
        mask.unlink()
    unscored = here(*words, f"data.root={bare}", "output_dir=bare_runs")
    assert labels_of(unscored, 2) == labels_of(scored, 2)
    assert not [key for key in unscored.scores if "labels" in key and key.endswith("miou")]
    assert "round_2/labels/train/changed" in unscored.scores
    assert unscored.scores["segmentation/val/miou"] == scored.scores["segmentation/val/miou"]


def bndbox(x0, y0, x1, y1) -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), (x0, y0, x1, y1), strict=True)
    return "<bndbox>" + "".join(f"<{k}>{v}</{k}>" for k, v in corners) + "</bndbox>"


GOOD = bndbox(9, 9, 40, 40)
BAD_BOXES = {
    "inverted": (
        lambda path: edit(path, GOOD, bndbox(40, 9, 9, 40)),
        ["train_0.xml has a bird whose box (40, 9, 9, 40) holds no pixel", "mend the box"],
    ),
    "empty": (
        lambda path: edit(path, GOOD, bndbox(9, 9, 8, 40)),
        ["whose box (9, 9, 8, 40) holds no pixel of the image of 64x56"],
    ),
    "outside": (
        lambda path: edit(path, GOOD, bndbox(90, 9, 99, 40)),
        ["holds no pixel of the image of 64x56"],
    ),
    "no numbers": (
        lambda path: edit(path, GOOD, bndbox("a", 9, 99, 40)),
        ["without a box in numbers (a, 9, 99, 40)", "give all four as numbers"],
    ),
    "no boxes": (
        lambda path: path.write_text("<annotation/>"),
        [
            "1 images of train have no box in xml (train_0)",
            "data.dataset.on_missing_labels=background",
        ],
    ),
    "no XML": (lambda path: path.write_text("<annotation"), ["train_0.xml does not parse as XML"]),
    "entities": (
        lambda path: path.write_text('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>'),
        ["train_0.xml declares entities, which are not expanded"],
    ),
    "absent": (lambda path: path.unlink(), ["train_0.xml is missing", "data.dataset.boxes"]),
}


@pytest.mark.parametrize("case", BAD_BOXES)
def test_boxes_that_are_none_are_named_with_their_mend_before_work_starts(here, mine, voc, case):
    spoil, answers = BAD_BOXES[case]
    spoil(voc / "Annotations/train_0.xml")
    told = here("experiment=box", *mine[1:])
    assert told.code == 1
    for answer in answers:
        assert answer in told.err
    assert "Traceback" not in told.out + told.err
    assert "round_0" not in told.out


def test_all_bad_boxes_are_counted(here, mine, voc):
    for i in (0, 3):
        edit(voc / f"Annotations/train_{i}.xml", GOOD, bndbox(40, 9, 9, 40))
    told = here("experiment=box", *mine[1:])
    assert "3 boxes of split 'train'" in told.err
    assert "train_0.xml" in told.err
    assert "train_3.xml" in told.err


def test_an_unknown_class_is_named_where_no_view_of_classes_leaves_it_out(here, voc):
    edit(voc / "Annotations/train_0.xml", "bird", "brid")
    told = here("experiment=box", "data=voc2012", f"data.root={voc}", *SMALL)
    assert "train_0.xml names the class 'brid'" in told.err
    assert "did you mean bird?" in told.err


def test_boxes_that_reach_over_the_image_are_cut_and_counted(here, mine, voc):
    edit(voc / "Annotations/train_0.xml", GOOD, bndbox(-3, 9, 400, 40))
    run = here("experiment=grabcut", *mine[1:], "box_labels=paint")
    assert "mine train: 8 boxes from xml, 1 cut to the image, 0 tags without a box" in run.out
    assert (load(run.folder / "round_0/labels/train_0.png")[8:40] == 1).all()


def test_an_image_without_boxes_is_background_where_the_data_file_allows_it(here, mine, voc):
    (voc / "Annotations/train_0.xml").write_text("<annotation/>")
    run = here("experiment=grabcut", *mine[1:], "data.dataset.on_missing_labels=background")
    assert not load(run.folder / "round_0/labels/train_0.png").any()
    assert "1 tags without a box" in run.out


def test_boxes_of_all_sources_give_the_same_labels(here, mine, voc):
    """XML, COCO, CSV and instance masks of the same boxes."""
    names = [path.stem for path in sorted((voc / "Annotations").glob("train_*.xml"))]
    lines, images, annotations = ["image,class,x0,y0,x1,y1"], [], []
    categories = [{"id": i, "name": name} for i, name in enumerate(("bird", "cat", "dog"))]
    ids = {"bird": 3, "cat": 8, "dog": 12}
    (voc / "SegmentationObject").mkdir()
    for number, name in enumerate(names):
        mask = load(voc / f"SegmentationClass/{name}.png")
        instances = np.zeros_like(mask)
        images.append({"id": number, "file_name": f"{name}.jpg"})
        objects = []
        for kind, raw in ids.items():
            if not (mask == raw).any():
                continue
            rows, columns = np.nonzero(mask == raw)
            x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            instances[mask == raw] = len(objects) + 1
            objects.append(f"<object><name>{kind}</name>{bndbox(x0 + 1, y0 + 1, x1, y1)}</object>")
            lines.append(f"{name},{kind},{x0},{y0},{x1},{y1}")
            corner = [int(v) for v in (x0, y0, x1 - x0, y1 - y0)]
            category = list(ids).index(kind)
            annotations.append({"image_id": number, "category_id": category, "bbox": corner})
        instances[mask == 255] = 255
        Image.fromarray(instances).save(voc / f"SegmentationObject/{name}.png")
        (voc / f"Annotations/{name}.xml").write_text(f"<annotation>{''.join(objects)}</annotation>")
    (voc / "boxes.csv").write_text("\n".join(lines))
    coco = {"images": images, "categories": categories, "annotations": annotations}
    (voc / "boxes_train.json").write_text(json.dumps(coco))
    found = []
    for source in ("xml", "boxes.csv", "boxes_{split}.json", "masks"):
        run = here("experiment=grabcut", *mine[1:], f"data.dataset.boxes='{source}'")
        found.append(labels_of(run, 0))
        used = run.results["protocol"]["train_masks_used_for"]
        assert used == (["boxes", "scoring"] if source == "masks" else ["scoring"])
    assert found[0]
    assert all(labels == found[0] for labels in found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["box_labels=cores", "box_labels.inner=0"], "box_labels.inner is 0, but boxes must have"),
        (["box_labels=cores", "box_labels.of=sides"], "box_labels.of is sides; set it to side or"),
        (["relabel.min_fill=1.5"], "relabel.min_fill is 1.5, but it is a share; set it in [0, 1]"),
        (["relabel.label_confidence=1"], "relabel.label_confidence is 1; set it within (0, 1)"),
        (["pipeline.training=fresh"], "pipeline.training is fresh; set it to afresh or continued"),
        (["pipeline.rounds=-1"], "pipeline.rounds is -1; set a whole number of 0 or more"),
        (["pipeline.epochs=0"], "pipeline.epochs is 0; set a whole number of 1 or more"),
        (["relabel.leest=0.4"], "did you mean relabel.min_fill"),
        (
            ["box_labels=grabcut_agreement", "box_labels.agree=[0.7,0.2]"],
            "box_labels.agree is [0.7, 0.2]; give two shares",
        ),
        (
            ["box_labels=grabcut_agreement", "box_labels.context=[0.6,0.1]"],
            "box_labels.context is [0.6, 0.1]; give widths above 0",
        ),
        (["data.dataset.boxes=boxes.txt"], "data.dataset.boxes is boxes.txt; set it to xml, masks"),
        (["data.dataset.boxes=boxes.csv"], "boxes.csv is missing; give the file of boxes"),
    ],
)
def test_a_slip_about_boxes_is_answered_with_its_mend(here, shared, words, message):
    told = here("experiment=box", *TINY, *words, folder=shared)
    assert told.code == 1
    assert message in told.err
    assert "Traceback" not in told.out + told.err


def test_labels_over_rounds_of_several_runs_are_compared(here, shared, tmp_path):
    runs = [
        here(f"experiment={name}", *TINY, *ROUNDS, folder=shared) for name in ("box", "box_naive")
    ]
    script = Path(__file__).parents[2] / "experiments/boxes/rounds.py"
    chart = tmp_path / "found.png"
    told = command(script, *(run.folder for run in runs), "--chart", chart)
    score = runs[1].scores["round_2/labels/train/miou"]
    assert f"{100 * score:.1f}" in told
    with Image.open(chart) as drawn:
        drawn.verify()
