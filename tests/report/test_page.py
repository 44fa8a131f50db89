import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

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


@pytest.fixture
def made(write_runs, tmp_path):
    write_runs(tmp_path / "runs", {"cam": 1.0, "seam": 1.5}, seeds=3, images=30)
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")])
    return tmp_path


def test_every_number_is_that_of_the_results(made):
    cells = parsed(made / "page.html").found
    of_runs = [(told, text) for told, text in cells if "data-run" in told]
    assert len(of_runs) == 6 * 4  # runs, columns
    for told, text in of_runs:
        scores = json.loads((Path(told["data-run"]) / "results.json").read_text())["scores"]
        assert text == f"{100 * scores[told['data-key']]:.1f}"
    means = [(told, text) for told, text in cells if "data-method" in told and text]
    assert len(means) > 2 * 4
    for told, text in means:
        folders = [made / f"runs/{told['data-method']}_{seed}" for seed in range(3)]
        values = [scores_of(folder, told["data-key"])[0] for folder in folders]
        assert text.split(" ± ")[0] == f"{100 * np.mean(values):.1f}"


def test_the_page_needs_nothing_else(made):
    cells, text = parsed(made / "page.html"), (made / "page.html").read_text()
    assert all(address.startswith(("#", "data:")) for address in cells.addresses)
    assert "<script" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text


def test_verdicts_and_protocol_are_said(made):
    text = (made / "page.html").read_text()
    assert "seam is better than cam by" in text
    assert re.search(r"tags<span[^>]*>, given</span>", text)
    assert "No pictures: data.root is" in text
    assert "reads training masks" not in text


def test_a_run_that_read_training_masks_says_so_in_red(made):
    path = made / "runs/cam_0/results.json"
    results = json.loads(path.read_text())
    results["protocol"]["true_masks_of_train"] = "tags and scoring"
    path.write_text(json.dumps(results))
    main([str(made / "runs"), "--out", str(made / "page.html")])
    text = (made / "page.html").read_text()
    assert re.search(r'<td class="told red">tags<br>reads training masks', text)


def test_tables_stand_beside_the_page_as_markdown_and_latex(made):
    rows = (made / "page.md").read_text().splitlines()
    table = [row for row in rows if row.startswith("|")]
    assert len(table) == 4
    assert len({row.count("|") for row in table}) == 1
    value = np.mean([scores_of(made / f"runs/cam_{s}", "seeds/train/miou")[0] for s in range(3)])
    assert f"{100 * value:.1f} ± " in next(row for row in table if row.startswith("| cam "))
    tex = (made / "page.tex").read_text()
    assert rf"{100 * value:.1f} $\pm$" in tex
    assert r"made\_up" in tex
    assert tex.count(r"\\") == 3


def test_every_score_of_every_run_stands_in_a_table_of_its_own(made):
    rows = list(csv.reader((made / "page.csv").open()))
    assert rows[0] == ["data", "method", "seed", "score", "value"]
    for data, method, seed, key, value in rows[1:]:
        scores = json.loads((made / f"runs/{method}_{seed}/results.json").read_text())["scores"]
        assert data == "made_up"
        assert float(value) == pytest.approx(scores[key], abs=1e-6)
    assert len(rows) - 1 == sum(
        len(json.loads(p.read_text())["scores"]) for p in made.rglob("results.json")
    )


def test_slips_are_answered(made, capsys):
    for words, message in (
        (["--baseline", "saem"], "--baseline is saem, but the methods are"),
        (["--out", str(made / "absent/page.html")], "absent is no folder; make it"),
        (["--costs", str(made / "absent.yaml")], "cannot be read as costs"),
    ):
        with pytest.raises(SystemExit) as stop:
            main([str(made / "runs"), *words])
        assert stop.value.code == 1
        assert message in capsys.readouterr().err


def test_text_of_names_is_no_markup(write_runs, tmp_path):
    write_runs(tmp_path / "runs", {"cam": 1.0, "cam x=<b>": 1.5}, seeds=2, images=5)
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")])
    assert "<b>&gt;" not in (tmp_path / "page.html").read_text()
    assert "x=&lt;b&gt;" in (tmp_path / "page.html").read_text()
