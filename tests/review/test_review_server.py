"""The web application: who may use it, what it shows, and what it stores."""

import io
import json

import numpy as np
import pytest
from facts import assert_names, raises_naming
from fastapi.testclient import TestClient
from PIL import Image
from review_runs import CLASSES, NAMES, write_run

from wsss_lightning.data.review import log as log_module
from wsss_lightning.data.review.decisions import Decision, now, read_decisions
from wsss_lightning.data.review.log import DecisionLog
from wsss_lightning.data.scores import load_mask
from wsss_lightning.errors import InputError
from wsss_lightning.review.run import ReviewedRun
from wsss_lightning.review.server import LARGEST_BODY, create_app
from wsss_lightning.review.session import Session

TOKEN = "secret-token"
BASE = "http://127.0.0.1:8000"
SIZE = [64, 56]  # of train_0


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("review"))


@pytest.fixture
def session(run_folder, tmp_path):
    return Session(ReviewedRun(run_folder), DecisionLog(tmp_path / "review.csv"))


@pytest.fixture
def client(session):
    return TestClient(create_app(session, TOKEN), base_url=f"{BASE}/{TOKEN}/")


def decide(client, image=0, name="", decision="accept", **detail):
    content = {"image": image, "class": name, "decision": decision, "detail": detail}
    return client.post("api/decisions", json=content)


def stored(session):
    return [(d.name, d.class_name, d.kind) for d in read_decisions(session.log.path)]


# who may use it


@pytest.mark.parametrize("path", ["", "api/run", "images/0/photo", "app.js"])
@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "täg"])
def test_without_the_token_nothing_is_served(client, token, path):
    answer = client.get(f"{BASE}/{token}/{path}")
    assert answer.status_code == 403
    assert TOKEN not in answer.text


def test_a_decision_without_the_token_is_not_stored(client, session):
    content = {"image": 0, "decision": "reject"}
    answer = client.post(f"{BASE}/wrong/api/decisions", json=content)
    assert answer.status_code == 403
    assert not session.log.path.exists()


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8000", "", "[", "10.0.0.1"]
)
def test_other_names_of_the_host_are_refused(client, host):
    # a page whose name was made to lead to 127.0.0.1 sends its own name
    assert client.get("api/run", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:1234", "localhost", "[::1]:99"])
def test_names_of_this_machine_are_served_also_through_a_tunnel(client, host):
    assert client.get("api/run", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9999", "null"])
def test_another_page_cannot_send_decisions(client, session, origin):
    content = {"image": 0, "decision": "reject"}
    answer = client.post("api/decisions", json=content, headers={"origin": origin})
    assert answer.status_code == 403
    assert not session.log.path.exists()
    own = client.post("api/decisions", json=content, headers={"origin": BASE})
    assert own.status_code == 200


def test_answers_tell_browsers_to_be_careful(client):
    headers = client.get("").headers
    assert_names(headers["content-security-policy"], "default-src 'none'", "frame-ancestors 'none'")
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "../run.py",
        "%2e%2e/run.py",
        "..%2f..%2frun.py",
        "images/0/..%2f..%2fresults",
        "images/0/../../results.json",
        "images/-1/photo",
        "images/6/photo",
        "images/0/nothing",
        "images/0/heat/2",
        "api/nothing",
        "docs",
        "openapi.json",
    ],
)
def test_no_other_file_is_served(client, path):
    assert client.get(path).status_code in (403, 404)


def test_a_huge_body_is_refused(client, session):
    answer = client.post("api/decisions", content=b" " * (LARGEST_BODY + 1))
    assert answer.status_code == 413
    assert not session.log.path.exists()


# what it shows


def test_every_file_of_the_page_is_served_and_none_is_fetched_from_elsewhere(client):
    page = client.get("")
    assert page.headers["content-type"].startswith("text/html")
    for name, kind in (
        ("style.css", "text/css"),
        ("app.js", "text/javascript"),
        ("store.js", "text/javascript"),
        ("viewer.js", "text/javascript"),
        ("shapes.js", "text/javascript"),
        ("panel.js", "text/javascript"),
    ):
        answer = client.get(name)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        # the namespace of SVG is a name, not an address
        assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
    assert "://" not in page.text


def test_images_come_worst_first_with_tags_sizes_and_quality(client):
    run = client.get("api/run").json()
    order = [image["name"] for image in run["images"]]
    assert order == ["train_1", "train_3", "train_2", "train_0", "train_4", "train_5"]
    first = run["images"][0]
    assert first["index"] == 1
    assert first["size"] == [64, 64]
    assert [CLASSES[c] for c in first["tags"]] == ["cat", "dog"]
    assert first["quality"] == 0.2
    assert first["class_quality"] == {"1": 0.2}
    assert [one["name"] for one in run["classes"]] == CLASSES
    assert run["has_quality"]
    assert run["can_retag"]
    assert [layer["key"] for layer in run["layers"]] == ["pseudo", "decided", "segmentation"]


def test_without_quality_images_come_by_name(tmp_path):
    run = ReviewedRun(write_run(tmp_path, with_quality=False))
    assert [run.names[i] for i in run.order] == NAMES
    assert not run.describe()["has_quality"]


def picture(client, path) -> np.ndarray:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] in ("image/png", "image/jpeg")
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))


def test_layers_fit_the_photo_and_show_the_mask(client, run_folder):
    mask = load_mask(run_folder / "pseudo/train_0.png")
    shown = picture(client, "images/0/pseudo")
    assert shown.shape == (56, 64, 4)
    assert ((shown[..., 3] == 0) == (mask == 0)).all()
    assert tuple(shown[25, 20]) == (128, 0, 0, 255)  # label 1 of VOC's palette
    assert picture(client, "images/0/photo").shape == shown.shape
    heat = picture(client, "images/0/heat/0")
    assert ((heat[..., 3] > 0) == (mask == 1)).all()
    assert max(picture(client, "images/0/thumbnail").shape[:2]) <= 96


def test_the_corrected_mask_follows_the_decisions(client):
    before = picture(client, "images/0/decided")
    assert (before == picture(client, "images/0/pseudo")).all()
    decide(client, 0, "", "ignore", id="r", size=SIZE, points=[[0, 0], [8, 0], [8, 8], [0, 8]])
    after = picture(client, "images/0/decided")
    assert (after[:8, :8, :3] == 255).all()
    assert (after[8:, 8:] == before[8:, 8:]).all()
    decide(client, 0, "", "reject")
    assert (picture(client, "images/0/decided")[..., :3] == 255).all()


def test_another_split_shows_its_refined_masks_and_cannot_be_retagged(run_folder):
    run = ReviewedRun(run_folder, "val")
    assert [layer.label for layer in run.layers] == ["CRF", "prediction"]
    assert not run.can_retag
    assert run.describe()["images"][0]["name"] == "val_0"


# what it stores


def test_a_decision_is_on_disk_when_the_answer_comes(client, session):
    answer = decide(client, 2, "", "reject").json()
    assert stored(session) == [("train_2", "", "reject")]
    assert answer["images"]["2"]["verdicts"] == {"": "reject"}


def test_answers_hold_what_changed_since_a_revision(client):
    revision = decide(client, 0).json()["revision"]
    decide(client, 1, "cat", "reject")
    changes = client.get("api/decisions", params={"since": revision}).json()
    assert list(changes["images"]) == ["1"]
    assert not changes["complete"]
    everything = client.get("api/decisions").json()
    assert sorted(everything["images"]) == ["0", "1"]
    assert everything["complete"]
    nothing = client.get("api/decisions", params={"since": changes["revision"]}).json()
    assert nothing["images"] == {}


def test_two_pages_and_another_program_see_each_others_decisions(client, session):
    revision = decide(client, 0).json()["revision"]
    other = DecisionLog(session.log.path)
    other.append(Decision("train_1", "", "reject", {}, now()))
    other.append(Decision("not in this run", "", "reject", {}, now()))
    changes = client.get("api/decisions", params={"since": revision}).json()
    assert changes["images"] == {"1": {"verdicts": {"": "reject"}, "tags": {}, "shapes": []}}


def test_a_file_that_was_edited_is_read_from_its_beginning(client, session):
    decide(client, 0)
    revision = decide(client, 1).json()["revision"]
    lines = session.log.path.read_text().splitlines(keepends=True)
    session.log.path.write_text(lines[0] + lines[2])
    changes = client.get("api/decisions", params={"since": revision}).json()
    assert changes["complete"]
    assert list(changes["images"]) == ["1"]


def test_shapes_and_tags_come_back_as_they_were_sent(client, session):
    box = {"id": "b", "size": SIZE, "box": [1.5, 2, 20, 30]}
    decide(client, 0, "cat", "box", **box)
    decide(client, 0, "cat", "tag", present=True)
    answer = decide(
        client, 0, "background", "scribble", id="s", size=SIZE, points=[[1, 1]], width=3
    )
    state = answer.json()["images"]["0"]
    assert state["tags"] == {"cat": True}
    assert state["shapes"][0] == {"id": "b", "kind": "box", "class_name": "cat", "detail": box}
    assert json.loads(json.dumps(read_decisions(session.log.path)[0].detail)) == box


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"image": 6}, [6]),
        ({"image": -1}, [-1]),
        ({"image": "x"}, ["image"]),
        ({"class": "cow", "decision": "reject"}, ["cow"]),
        ({"decision": "acept"}, ["acept", "accept"]),
        ({"decision": "tag", "class": "cat"}, ["present"]),
        (
            {
                "decision": "box",
                "class": "cat",
                "detail": {"id": "a", "size": [5, 5], "box": [0] * 4},
            },
            ["64x56"],
        ),
        (
            {"decision": "box", "class": "cat", "detail": {"id": "a", "size": 5, "box": [0] * 4}},
            ["size"],
        ),
        ({"more": 1}, ["more"]),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused_and_not_stored(client, session, changes, facts):
    answer = client.post("api/decisions", json={"image": 0, "decision": "accept"} | changes)
    assert answer.status_code == 422
    assert_names(answer.json()["error"], *facts)
    assert not session.log.path.exists()


def test_a_decision_that_cannot_be_written_is_not_acknowledged(client, session, monkeypatch):
    decide(client, 0)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log_module.os, "write", full)
    answer = decide(client, 1, "", "reject")
    assert answer.status_code == 507
    assert_names(answer.json()["error"], "No space left on device")
    monkeypatch.undo()
    assert stored(session) == [("train_0", "", "accept")]
    assert "1" not in client.get("api/decisions").json()["images"]


def test_proposals_are_undecided_and_of_low_quality(client):
    assert client.get("api/next").json()[0] == 1
    decide(client, 1)
    proposed = client.get("api/next").json()
    assert 1 not in proposed
    assert len(set(proposed)) == len(proposed)


# runs that cannot be reviewed


def test_runs_without_masks_or_data_are_refused_by_name(tmp_path):
    run = write_run(tmp_path)
    with raises_naming(InputError, "--split", "test", "train"):
        ReviewedRun(run, "test")
    with raises_naming(InputError, tmp_path / "nothing"):
        ReviewedRun(tmp_path / "nothing")
    (run / "pseudo/train_3.png").unlink()
    with raises_naming(InputError, "train_3", "train"):
        ReviewedRun(run)
    (run / "pseudo").rename(run / "elsewhere")
    (run / "predictions").rename(run / "elsewhere_too")
    with raises_naming(InputError, run, "train", "masks"):
        ReviewedRun(run)


def test_a_folder_of_several_runs_is_refused(run_folder, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_bytes((run_folder / "results.json").read_bytes())
    with raises_naming(InputError, tmp_path, 2):
        ReviewedRun(tmp_path)
