import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from facts import assert_names, raises_naming

from wsss_lightning.errors import InputError
from wsss_lightning.report.__main__ import main


class Cells(HTMLParser):
    """Text of the cells that say which score they show, and every address in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str], str]] = []
        self.addresses: list[str] = []
        self.inside: dict[str, str] | None = None
        self.text = ""

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        self.addresses += [told[key] for key in ("src", "href", "xlink:href") if key in told]
        if tag == "td" and "data-key" in told:
            self.inside, self.text = told, ""

    def handle_data(self, data):
        self.text += data

    def handle_endtag(self, tag):
        if tag == "td" and self.inside is not None:
            self.found.append((self.inside, self.text.strip()))
            self.inside = None


def parsed(path: Path) -> Cells:
    cells = Cells()
    cells.feed(path.read_text())
    return cells


def scores_of(folder: Path, key: str) -> list[float]:
    held = [json.loads(path.read_text())["scores"] for path in folder.rglob("results.json")]
    return [scores[key] for scores in held if key in scores]


@pytest.fixture(scope="module")
def shared(write_runs, tmp_path_factory):
    """A folder with runs and their page, which tests read only."""
    folder = tmp_path_factory.mktemp("made")
    write_runs(folder / "runs", {"cam": 1.0, "seam": 1.5}, seeds=3, images=30)
    main([str(folder / "runs"), "--out", str(folder / "page.html")])
    return folder


@pytest.fixture
def made(shared, tmp_path):
    """A copy, which tests may change."""
    return shutil.copytree(shared, tmp_path / "made")


def test_every_number_is_that_of_the_results(shared):
    cells = parsed(shared / "page.html").found
    of_runs = [(told, text) for told, text in cells if "data-run" in told]
    assert len(of_runs) == 6 * 4  # runs, columns
    for told, text in of_runs:
        scores = json.loads((Path(told["data-run"]) / "results.json").read_text())["scores"]
        assert text == f"{100 * scores[told['data-key']]:.1f}"
    means = [(told, text) for told, text in cells if "data-method" in told and text]
    assert len(means) > 2 * 4
    for told, text in means:
        folders = [shared / f"runs/{told['data-method']}_{seed}" for seed in range(3)]
        values = [scores_of(folder, told["data-key"])[0] for folder in folders]
        assert text.split(" ± ")[0] == f"{100 * np.mean(values):.1f}"


def test_the_page_needs_nothing_else(shared):
    cells, text = parsed(shared / "page.html"), (shared / "page.html").read_text()
    assert all(address.startswith(("#", "data:")) for address in cells.addresses)
    assert "<script" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text


def test_verdicts_and_protocol_are_said(shared):
    text = (shared / "page.html").read_text()
    assert_names(text, "seam", "better", "cam", near=100)
    assert re.search(r"tags<span[^>]*>, given</span>", text)
    assert_names(text, "data.root")
    assert "uses training masks" not in text


def test_a_run_that_read_training_masks_says_so_in_red(made):
    path = made / "runs/cam_0/results.json"
    results = json.loads(path.read_text())
    results["protocol"]["train_masks_used_for"] = ["tags", "scoring"]
    path.write_text(json.dumps(results))
    main([str(made / "runs"), "--out", str(made / "page.html")])
    text = (made / "page.html").read_text()
    assert re.search(r'<td class="text red">tags<br>uses training masks', text)


def test_tables_stand_beside_the_page_as_markdown_and_latex(shared):
    rows = (shared / "page.md").read_text().splitlines()
    table = [row for row in rows if row.startswith("|")]
    assert len(table) == 4
    assert len({row.count("|") for row in table}) == 1
    value = np.mean([scores_of(shared / f"runs/cam_{s}", "seeds/train/miou")[0] for s in range(3)])
    assert f"{100 * value:.1f} ± " in next(row for row in table if row.startswith("| cam "))
    tex = (shared / "page.tex").read_text()
    assert rf"{100 * value:.1f} $\pm$" in tex
    assert r"made\_up" in tex
    assert tex.count(r"\\") == 3


def test_every_score_of_every_run_stands_in_a_table_of_its_own(shared):
    rows = list(csv.reader((shared / "page.csv").open()))
    assert rows[0] == ["data", "method", "seed", "score", "value"]
    for data, method, seed, key, value in rows[1:]:
        scores = json.loads((shared / f"runs/{method}_{seed}/results.json").read_text())["scores"]
        assert data == "made_up"
        assert float(value) == pytest.approx(scores[key], abs=1e-6)
    assert len(rows) - 1 == sum(
        len(json.loads(p.read_text())["scores"]) for p in shared.rglob("results.json")
    )


def test_slips_are_answered(made):
    for words, facts in (
        (["--baseline", "saem"], ["--baseline", "saem", "seam", "cam"]),
        (["--out", str(made / "absent/page.html")], [made / "absent"]),
        (["--costs", str(made / "absent.yaml")], [made / "absent.yaml"]),
    ):
        with raises_naming(InputError, *facts):
            main([str(made / "runs"), *words])


class Markup(HTMLParser):
    """Every tag of a page with its attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = [("html", {})]
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags[-1][0] != "style":
            self.text += data


def change(folder: Path, **keys) -> None:
    for path in folder.rglob("results.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


EVIL = """"><script>alert('x')</script><b onload='y'> & [/x] $a_b$ | \\ {{ c }} 名前"""
SPLIT = """va"l onload='y' <b> $x$ & | 名"""


def test_names_from_files_are_text_and_never_markup(write_runs, tmp_path):
    runs = tmp_path / "runs"
    write_runs(runs, {"cam": 1.0, "seam": 1.5}, seeds=2, images=5)
    for path in runs.glob("*/results.json"):
        results = json.loads(path.read_text())
        results["dataset"]["classes"][0] = EVIL
        results["supervision"] = EVIL
        results["protocol"]["splits"] = {"train": "train", "val": SPLIT}
        results["protocol"]["seeds"]["tags"] = EVIL
        results["scores"] = {
            key.replace("/val/", f"/{SPLIT}/").replace("class_1", EVIL, key.endswith("_1")): value
            for key, value in results["scores"].items()
        }
        results |= {"data": EVIL, "versions": {"code": EVIL}, "data_digest": EVIL}
        if results["experiment"] == "seam":
            results["overrides"].append(f"method.x={EVIL}")
        path.write_text(json.dumps(results))
        (path.parent / "segmentation_miou/val").rename(path.parent / "segmentation_miou" / SPLIT)
    main([str(runs), "--out", str(tmp_path / "page.html"), "--charts", str(tmp_path / "charts")])
    page = Markup(tmp_path / "page.html")
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [key for _, told in page.tags for key in told if key.startswith("on")]
    assert all(told == {} for tag, told in page.tags if tag == "b")
    assert page.text.count(EVIL) > 5
    assert SPLIT in page.text
    rows = [row for row in (tmp_path / "page.md").read_text().splitlines() if row.startswith("| ")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert len(list((tmp_path / "charts").iterdir())) >= 3


def test_runs_that_nothing_was_scored_of_make_a_page_that_says_so(write_runs, tmp_path):
    write_runs(tmp_path / "runs", {"cam": 1.0}, seeds=1, images=4)
    for scores in ({}, {"classifier/val/map": 0.5}):
        change(tmp_path / "runs", scores=scores)
        main([str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")])
        text = Markup(tmp_path / "page.html").text
        assert_names(text, "masks", "train", "val", near=60)
        assert "± " not in text.split("Scores")[1].split("mIoU in percent")[0]
        rows = list(csv.reader((tmp_path / "page.csv").open()))
        assert [row[3] for row in rows[1:]] == list(scores)


def test_runs_without_a_validation_split_make_a_page_that_says_so(write_runs, tmp_path):
    steps = (("seeds", "train"), ("pseudo", "train"), ("segmentation", "train"))
    write_runs(tmp_path / "runs", {"cam": 1.0, "seam": 1.5}, seeds=2, images=20, steps=steps)
    results = json.loads((tmp_path / "runs/cam_0/results.json").read_text())
    protocol = {**results["protocol"], "splits": {"train": "train", "val": None}}
    change(tmp_path / "runs", protocol=protocol)
    main(
        [
            str(tmp_path / "runs"),
            "--out",
            str(tmp_path / "page.html"),
            "--keep",
            str(tmp_path / "k"),
        ]
    )
    text = Markup(tmp_path / "page.html").text
    assert_names(text, "validation split")
    assert "None" not in text
    assert "mIoU of segmentation, train (%)" in text
    assert len(list((tmp_path / "k").rglob("segmentation_miou/train/images.npz"))) == 4


def test_a_validation_split_that_is_train_has_each_column_once(write_runs, tmp_path):
    steps = (("seeds", "train"), ("pseudo", "train"), ("segmentation", "train"))
    write_runs(tmp_path / "runs", {"cam": 1.0}, seeds=1, images=20, steps=steps)
    results = json.loads((tmp_path / "runs/cam_0/results.json").read_text())
    protocol = {**results["protocol"], "splits": {"train": "train", "val": "train"}}
    change(tmp_path / "runs", protocol=protocol)
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")])
    keys = [told["data-key"] for told, _ in parsed(tmp_path / "page.html").found]
    means = [key for key in keys if key.endswith("/miou")]
    assert len(means) == 2 * 3  # of the method, and of its run
    assert "training split" in Markup(tmp_path / "page.html").text


def test_every_step_that_was_scored_has_a_column_with_its_name(write_runs, tmp_path):
    steps = (("none", "train"), ("my_own", "train"), ("seeds", "train"), ("segmentation", "val"))
    write_runs(tmp_path / "runs", {"cam": 1.0}, seeds=1, images=4, steps=steps)
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")])
    (heads,) = [r for r in (tmp_path / "page.md").read_text().splitlines() if "| method" in r]
    assert heads.strip("| ").split(" | ")[2:] == [
        "segmentation, val",
        "seeds, train, fixed threshold",
        "seeds without refinement, train",
        "my own, train",
    ]
    text = Markup(tmp_path / "page.html").text
    assert not re.search(r"\bnone\b", text)


def test_a_damaged_run_is_named_on_the_page_and_the_others_are_compared(made, capsys):
    (made / "runs/cam_1/results.json").write_text("{")
    main([str(made / "runs"), "--out", str(made / "page.html")])
    assert "cam_1/results.json" in capsys.readouterr().err
    text = Markup(made / "page.html").text
    assert "cam_1/results.json" in text
    assert_names(text, "2 methods", "5 runs", near=40)


def test_damaged_counts_and_curves_are_left_out_by_their_names(made):
    (made / "runs/cam_1/segmentation_miou/val/images.npz").write_bytes(b"PK")
    (made / "runs/cam_0/seeds_miou/train/curve.json").write_text('{"threshold": [0')
    (made / "runs/seam_0/seeds_miou/train/curve.json").write_text(
        '{"threshold": [0.1], "miou": []}'
    )
    main([str(made / "runs"), "--out", str(made / "page.html")])
    text = Markup(made / "page.html").text
    for name in ("cam_1/segmentation_miou/val/images.npz", "cam_0/seeds_miou", "seam_0/seeds_miou"):
        assert name in text
    assert_names(text, "counts", "seam", "cam", near=80)


def test_what_else_is_asked_for_comes_without_a_page(made, monkeypatch):
    monkeypatch.chdir(made)
    before = set(made.iterdir())
    main([str(made / "runs"), "--charts", str(made / "charts")])
    main([str(made / "runs"), "--keep", str(made / "kept")])
    assert set(made.iterdir()) - before == {made / "charts", made / "kept"}
    main([str(made / "runs")])
    assert (made / "report.html").is_file()


def test_the_page_lies_where_out_says(write_runs, tmp_path):
    steps = (("seeds", "train"),)
    write_runs(tmp_path / "runs", {"cam": 1.0}, seeds=1, images=2, classes=2, steps=steps)
    (tmp_path / "there").mkdir()
    stems = {".": "report", "a.md": "a", "v1.2": "v1.2", "b": "b"}
    for out in stems:
        main([str(tmp_path / "runs"), "--out", str(tmp_path / "there" / out)])
    written = {path.name for path in (tmp_path / "there").iterdir()}
    suffixes = ("html", "md", "tex", "csv")
    assert written == {f"{stem}.{suffix}" for stem in stems.values() for suffix in suffixes}


def test_a_place_that_cannot_be_written_is_named(made):
    (made / "page_files").write_text("a file where pictures go")
    (made / "charts").write_text("a file where charts go")
    for words in (["--out", str(made / "page.html")], ["--charts", str(made / "charts")]):
        with pytest.raises(InputError, match=rf"{made}/(page_files|charts)"):
            main([str(made / "runs"), *words])


def test_charts_of_two_data_sets_of_one_name_do_not_replace_each_other(write_runs, tmp_path):
    for i, classes in enumerate([20, 21]):
        write_runs(tmp_path / f"runs/{i}", {"cam": 1.0}, 1, images=4, classes=classes)
    main([str(tmp_path / "runs"), "--charts", str(tmp_path / "charts")])
    charts = [path.name for path in (tmp_path / "charts").iterdir()]
    assert len([name for name in charts if name.endswith("_cost.png")]) == 2
