"""Learning from boxes through the command line: rounds, what they leave, and bad boxes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from bad_input import GOOD, bndbox, edit
from benchmarks import command
from commands import CACHED, DONE, SMALL, TINY, kill_when, start
from facts import assert_names
from PIL import Image

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
        assert strip.width > 5 * 160  # image, truth, boxes, two rounds
    assert (run.folder / "pictures/rounds/rounds.png").is_file()
    protocol = run.results["protocol"]
    assert run.results["supervision"] == "boxes"
    assert protocol["boxes_source"] == "xml"
    assert (protocol["box_labels"], protocol["relabel"]) == ("paint_boxes", "denoised")
    assert protocol["train_masks_used_for"] == ["scoring"]
    assert_names(run.out, "round 2", "labels", near=60)


def test_relabelling_never_leaves_the_boxes_unless_it_is_naive(here, shared):
    kept = here("experiment=box", *TINY, *ROUNDS, folder=shared)
    free = here("experiment=box_naive", *TINY, *ROUNDS, folder=shared)
    assert "round_1/segmentation" in free.stages(CACHED)  # both learn from the same boxes first

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
    assert "round_0/labels" in other.stages(CACHED)
    assert "segmentation" in other.stages(DONE)
    assert labels_of(first, 0) == labels_of(other, 0)


def test_the_seminars_reading_is_a_choice_of_the_same_loop(here, shared):
    words = ("relabel=smaller", "pipeline.training=finetune", *ROUNDS)
    run = here("experiment=box", *TINY, *words, folder=shared)
    assert run.results["protocol"]["relabel"] == "smaller"
    record = json.loads((run.folder / "round_2/segmentation/stage.json").read_text())
    assert record["inputs"]["continue_from"].startswith("train-")
    assert record["inputs"]["epochs_before"] == 1


def test_a_network_may_train_from_scratch_in_each_round(here, shared):
    run = here("experiment=box", *TINY, *ROUNDS, "pipeline.training=scratch", folder=shared)
    record = json.loads((run.folder / "round_2/segmentation/stage.json").read_text())
    assert record["inputs"]["continue_from"] is None


@pytest.mark.long
def test_a_run_killed_in_a_round_has_the_results_of_an_unbroken_one(here, tmp_path):
    words = ("experiment=box", *TINY, *ROUNDS[:1], "pipeline.min_change=null", "pipeline.epochs=4")
    killed, stages = tmp_path / "killed", tmp_path / "killed/runs/stages"
    kill_when(start(*words, folder=killed), stages, "train-*.partial/last.ckpt")
    kill_when(start(*words, folder=killed), stages, "relabel-*/metrics.json")
    (first,) = (path.parent for path in stages.glob("relabel-*/metrics.json"))
    kill_when(start(*words, folder=killed), stages, "train-*.partial/last.ckpt")  # in round 2
    assert not list(killed.rglob("results.json"))
    resumed = here(*words, folder=killed)
    assert "round_1/labels" in resumed.stages(CACHED)
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


def test_all_bad_boxes_are_counted(here, mine, voc):
    for i in (0, 3):
        edit(voc / f"Annotations/train_{i}.xml", GOOD, bndbox(40, 9, 9, 40))
    told = here("experiment=box", *mine[1:])
    assert_names(told.err, 3, "train", "train_0.xml", "train_3.xml")


def test_an_unknown_class_is_named_where_no_view_of_classes_leaves_it_out(here, voc):
    edit(voc / "Annotations/train_0.xml", "bird", "brid")
    told = here("experiment=box", "data=voc2012", f"data.root={voc}", *SMALL)
    assert_names(told.err, "train_0.xml", "brid", "bird")


def test_boxes_that_reach_over_the_image_are_cut_and_counted(here, mine, voc):
    edit(voc / "Annotations/train_0.xml", GOOD, bndbox(-3, 9, 400, 40))
    run = here("experiment=grabcut", *mine[1:], "box_labels=paint")
    assert_names(run.out, "mine train", "8 boxes", 1, 0, near=100)
    assert (load(run.folder / "round_0/labels/train_0.png")[8:40] == 1).all()


def test_an_image_without_boxes_is_background_where_the_data_file_allows_it(here, mine, voc):
    (voc / "Annotations/train_0.xml").write_text("<annotation/>")
    run = here("experiment=grabcut", *mine[1:], "data.dataset.on_missing_labels=background")
    assert not load(run.folder / "round_0/labels/train_0.png").any()
    assert_names(run.out, "mine train", 1, near=100)


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
    ("words", "facts"),
    [
        (["box_labels=cores", "box_labels.inner=0"], ["box_labels.inner", 0]),
        (["box_labels=cores", "box_labels.of=sides"], ["box_labels.of", "sides", "side"]),
        (["relabel.min_fill=1.5"], ["relabel.min_fill", 1.5, "[0, 1]"]),
        (["relabel.label_confidence=1"], ["relabel.label_confidence", 1, "(0, 1)"]),
        (["pipeline.training=fresh"], ["pipeline.training", "fresh", "scratch", "finetune"]),
        (["pipeline.rounds=-1"], ["pipeline.rounds", -1, 0]),
        (["pipeline.epochs=0"], ["pipeline.epochs", 0, 1]),
        (["relabel.min_fil=0.4"], ["relabel.min_fil", "relabel.min_fill"]),
        (
            ["box_labels=grabcut_agreement", "box_labels.agree=[0.7,0.2]"],
            ["box_labels.agree", "[0.7, 0.2]"],
        ),
        (
            ["box_labels=grabcut_agreement", "box_labels.context=[0.6,0.1]"],
            ["box_labels.context", "[0.6, 0.1]", 0],
        ),
        (["data.dataset.boxes=boxes.txt"], ["data.dataset.boxes", "boxes.txt", "xml", "masks"]),
        (["data.dataset.boxes=boxes.csv"], ["boxes.csv", "boxes"]),
    ],
)
def test_a_slip_about_boxes_is_answered_with_its_mend(here, shared, words, facts):
    told = here("experiment=box", *TINY, *words, folder=shared)
    assert told.code == 1
    assert_names(told.err, *facts)
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
