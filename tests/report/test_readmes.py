"""The tables of the repository's READMEs."""

import json

from facts import raises_naming


def test_tables_of_readmes_are_what_was_recorded(tables):
    stale = [path for path in tables.READMES if tables.filled(path.read_text()) != path.read_text()]
    assert stale == [], "python experiments/tables.py makes them anew"
    assert any("<!-- table" in path.read_text() for path in tables.READMES)


def test_a_table_holds_means_ranges_shares_and_hours(tables, write_runs, tmp_path, monkeypatch):
    write_runs(tmp_path / "runs", {"cam": 1.0, "box": 2.0}, seeds=2, images=4)
    for path in tmp_path.rglob("results.json"):
        results = json.loads(path.read_text())
        results["scores"]["segmentation/val/miou"] = 0.25 if path.parent.name == "cam_0" else 0.75
        path.write_text(json.dumps(results))
    monkeypatch.setattr(tables, "HERE", tmp_path)
    text = """before
<!-- table
records: runs
rows: {CAM: cam}
columns: {val: segmentation/val/miou, of boxes: share box, h: hours, n: runs, none: x/y/z}
-->
old
<!-- end of table -->
behind
"""
    lines = tables.filled(text).splitlines()
    # 4 images of 20 classes, a second a question
    assert lines[-3] == "| CAM | 50.0 (25.0 to 75.0) | 67 % | 0.0 | 2 | – |"
    assert (lines[0], lines[-1], lines.count("old")) == ("before", "behind", 0)


def test_a_table_of_one_score_has_a_row_a_data_set(tables, write_runs, tmp_path, monkeypatch):
    for data, value in {"near": 0.5, "far": 0.25}.items():
        write_runs(tmp_path / f"runs/{data}", {"cam": 1.0}, seeds=1, images=4)
        for path in (tmp_path / "runs" / data).rglob("results.json"):
            results = json.loads(path.read_text())
            results |= {"data": data, "data_digest": data}
            results["scores"]["seeds/val/miou"] = value
            path.write_text(json.dumps(results))
    monkeypatch.setattr(tables, "HERE", tmp_path)
    said = (
        "records: runs\nscore: seeds/val/miou\nrows: {Close: near, Away: far}\ncolumns: {CAM: cam}"
    )
    assert tables.table(said).splitlines()[2:] == ["| Close | 50.0 |", "| Away | 25.0 |"]
    with raises_naming(SystemExit, "near", "box", "cam"):
        tables.table(said.replace("CAM: cam", "CAM: cam, Box: box"))
