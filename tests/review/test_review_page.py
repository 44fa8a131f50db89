"""The review page in a real browser: what a person does is stored, and nothing is lost."""

import re

import pytest
from browser import served
from chromium import chromium  # noqa: F401
from review_runs import write_run

from wsss_lightning.data.review.decisions import Decision, now, read_decisions
from wsss_lightning.data.review.log import DecisionLog
from wsss_lightning.data.review.state import states

# the server does not answer any more
GONE = "() => fetch('api/run').then(() => false, () => true)"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A served run: its folder and its address."""
    run = write_run(tmp_path_factory.mktemp("review"))
    with served(run, run / "review.csv") as (_, address):
        yield run, address


@pytest.fixture
def path(site):
    """File of the decisions, empty at the start of a test."""
    path = site[0] / "review.csv"
    path.unlink(missing_ok=True)
    return path


@pytest.fixture
def open_page(chromium, site, path):  # noqa: F811
    """`open_page()`: the page in a tab of its own; errors of its scripts fail the test."""
    errors, contexts = [], []

    def call(address=site[1], width=1366, height=768, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(error.stack or str(error)))
        page.set_default_timeout(10_000)
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        return page

    yield call
    for context in contexts:
        context.close()
    assert not errors, "\n".join(errors)


def saved(page) -> None:
    page.wait_for_selector("#saved[data-kind=saved]")


def kept(path) -> dict:
    return states(read_decisions(path))


def drag(page, *points) -> None:
    """Drag over the photo, by shares of its width and height."""
    place = page.locator("#photo").bounding_box()
    spots = [(place["x"] + x * place["width"], place["y"] + y * place["height"]) for x, y in points]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot, steps=4)
    page.mouse.up()


def name(page) -> str:
    return page.locator("#name").inner_text()


def test_a_review_by_keyboard_and_mouse_is_stored_and_a_reload_restores_it(open_page, path):
    page = open_page()
    assert name(page) == "train_1"  # the worst, 64 x 64 pixels, cat and dog
    page.keyboard.press("r")
    page.keyboard.press("j")
    assert name(page) == "train_3"
    page.keyboard.press("a")
    page.keyboard.press("k")
    page.keyboard.press("i")
    drag(page, (0.25, 0.25), (0.5, 0.75))
    page.keyboard.press("b")
    page.keyboard.press("2")  # cat
    drag(page, (0.5, 0.5), (1.0, 1.0))
    page.keyboard.press("s")
    page.keyboard.press("0")  # background
    drag(page, (0.1, 0.1), (0.1, 0.5), (0.3, 0.5))
    page.get_by_label("Reject cat").click()
    saved(page)
    stored = kept(path)
    assert stored["train_1"].verdicts == {"": "reject", "cat": "reject"}
    assert stored["train_3"].verdicts == {"": "accept"}
    region, box, scribble = stored["train_1"].shapes.values()
    for (x, y), (wanted_x, wanted_y) in zip(
        region.detail["points"], [(16, 16), (32, 16), (32, 48), (16, 48)], strict=True
    ):
        assert abs(x - wanted_x) < 0.2
        assert abs(y - wanted_y) < 0.2
    assert (box.kind, box.class_name) == ("box", "cat")
    assert box.detail["box"] == pytest.approx([32, 32, 64, 64], abs=0.2)
    assert (scribble.kind, scribble.class_name) == ("scribble", "background")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert name(page) == "train_1"
    assert page.locator("#progress-text").inner_text().startswith("2 of 6")
    assert page.locator("#shapes li button").count() == 3
    assert page.locator("#drawing > *").count() == 3
    assert page.locator("[data-verdict=reject][aria-pressed=true]").count() == 1
    assert kept(path) == stored


def test_undo_takes_back_one_decision_after_the_other_even_after_a_reload(open_page, path):
    page = open_page()
    page.keyboard.press("a")
    page.keyboard.press("r")
    page.keyboard.press("i")
    drag(page, (0.25, 0.25), (0.5, 0.75))
    saved(page)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.keyboard.press("j")
    for expected in ({"": "reject"}, {"": "accept"}, {}):
        page.keyboard.press("u")
        saved(page)
        page.wait_for_function("() => document.getElementById('name').innerText === 'train_1'")
        state = kept(path)["train_1"]
        assert state.verdicts == expected
        assert not state.shapes
    assert page.locator("#undo").is_disabled()


def test_tags_are_added_and_removed_and_a_drawn_class_is_tagged(open_page, path):
    page = open_page()
    assert page.locator("#classes li").count() == 2
    page.locator("#classes li[data-class=dog]").get_by_role(
        "button", name=re.compile("does not show")
    ).click()
    page.locator("#add-tag").select_option("bird")
    saved(page)
    assert kept(path)["train_1"].tags == {"dog": False, "bird": True}
    page.get_by_role("button", name="restore").click()
    page.keyboard.press("j")
    page.keyboard.press("b")
    page.locator("#draw-class").select_option("dog")
    drag(page, (0.2, 0.2), (0.6, 0.6))
    saved(page)
    assert kept(path)["train_1"].tags == {"bird": True}
    assert kept(path)["train_3"].tags == {"dog": True}
    page.keyboard.press("u")  # the box and its tag together
    saved(page)
    assert not kept(path)["train_3"].is_reviewed


def test_two_tabs_and_another_program_lose_nothing_of_each_other(open_page, path):
    one, other = open_page(), open_page()
    one.keyboard.press("i")
    drag(one, (0.1, 0.1), (0.3, 0.3))
    other.keyboard.press("i")
    drag(other, (0.6, 0.6), (0.9, 0.9))
    for page in (one, other):
        saved(page)
    DecisionLog(path).append(Decision("train_1", "cat", "reject", {}, now()))
    assert len(kept(path)["train_1"].shapes) == 2
    for page in (one, other):  # each learns of the other's within a few seconds
        page.wait_for_function("() => document.querySelectorAll('#shapes button').length === 2")
        page.locator('[aria-label^="Reject cat"][aria-pressed=true]').wait_for()


def test_decisions_without_the_server_are_kept_and_sent_when_it_is_back(open_page, path):
    page = open_page()
    page.route("**/api/decisions*", lambda route: route.abort())
    page.keyboard.press("r")
    page.wait_for_selector("#saved[data-kind=failed]")
    assert page.locator("#banner").is_visible()
    page.keyboard.press("j")
    page.keyboard.press("a")
    assert not path.exists()
    page.on("dialog", lambda dialog: dialog.accept())  # "leave the page?"
    page.unroute("**/api/decisions*")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    saved(page)
    page.wait_for_function("() => document.getElementById('progress').value === 2")
    assert {n: s.verdicts for n, s in kept(path).items()} == {
        "train_1": {"": "reject"},
        "train_3": {"": "accept"},
    }


def test_a_server_that_ended_is_noticed(open_page, path, site):
    with served(site[0], path) as (server, address):
        page = open_page(address)
        server.should_exit = True
        page.wait_for_function(GONE)
        page.keyboard.press("r")
        page.wait_for_selector("#saved[data-kind=failed]")
        assert "saved" in page.locator("#banner").inner_text()


def test_filters_and_proposals_choose_the_images(open_page):
    page = open_page()
    visible = "#list li:not([hidden])"
    assert page.locator(visible).count() == 6
    page.locator("#filter-class").select_option("dog")
    assert page.locator(visible).count() == 3
    page.locator("#filter-class").select_option("")
    page.keyboard.press("a")
    page.locator("#filter-state").select_option("undecided")
    assert page.locator(visible).count() == 5
    page.locator("#filter-state").select_option("accept")
    assert page.locator(visible).count() == 1
    page.locator("#filter-state").select_option("")
    page.locator("#propose").click()
    page.wait_for_function("() => document.getElementById('name').innerText !== 'train_1'")


def test_layers_zoom_and_pan_work_by_keyboard_and_wheel(open_page):
    page = open_page()
    assert page.locator("#mask").is_visible()
    page.keyboard.press("c")
    page.wait_for_function("() => document.getElementById('heat').naturalWidth > 0")
    assert page.locator("#mask").is_hidden()
    page.keyboard.press("m")
    assert page.locator("#heat").is_hidden()
    page.keyboard.down(" ")
    assert page.locator("#mask").is_hidden()
    page.keyboard.up(" ")
    assert page.locator("#mask").is_visible()
    before = page.locator("#photo").bounding_box()
    page.mouse.move(600, 400)
    page.mouse.wheel(0, -400)
    page.wait_for_function(
        "width => document.getElementById('photo').getBoundingClientRect().width > width * 1.5",
        arg=before["width"],
    )
    zoomed = page.locator("#photo").bounding_box()
    page.mouse.down()
    page.mouse.move(650, 430)
    page.mouse.up()
    moved = page.locator("#photo").bounding_box()
    assert moved["x"] - zoomed["x"] == pytest.approx(50, abs=1)
    assert moved["y"] - zoomed["y"] == pytest.approx(30, abs=1)
    page.keyboard.press("w")
    assert page.locator("#photo").bounding_box() == pytest.approx(before, abs=1)
    page.locator("#opacity").fill("20")
    opacity = "() => getComputedStyle(document.getElementById('mask')).opacity"
    assert page.evaluate(opacity) == "0.2"


def test_a_phone_shows_everything_within_its_width_and_is_used_by_touch(open_page, path):
    page = open_page(width=390, height=844, has_touch=True, is_mobile=True)
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390
    page.locator("#toggle-list").tap()
    page.locator("#list li button").nth(1).tap()
    assert name(page) == "train_3"
    page.locator("#panel [data-verdict=reject]").tap()
    saved(page)
    assert kept(path)["train_3"].verdicts == {"": "reject"}


def test_two_fingers_zoom_and_one_draws_or_moves(open_page, path):
    page = open_page(width=390, height=844, has_touch=True, is_mobile=True)
    fingers = page.context.new_cdp_session(page)

    def touch(kind, *points):
        spots = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": spots})

    before = page.locator("#photo").bounding_box()
    x, y = before["x"] + before["width"] / 2, before["y"] + before["height"] / 2
    touch("touchStart", (x - 40, y))
    touch("touchStart", (x - 40, y), (x + 40, y))
    touch("touchMove", (x - 80, y), (x + 80, y))
    touch("touchEnd")
    zoomed = page.locator("#photo").bounding_box()
    assert zoomed["width"] == pytest.approx(2 * before["width"], rel=0.05)
    touch("touchStart", (x, y))
    touch("touchMove", (x + 30, y + 20))
    touch("touchEnd")
    moved = page.locator("#photo").bounding_box()
    assert moved["x"] - zoomed["x"] == pytest.approx(30, abs=2)
    page.locator("#fit").tap()
    page.locator("#tools [data-tool=ignore]").tap()
    place = page.locator("#photo").bounding_box()
    corners = [
        (place["x"] + s * place["width"], place["y"] + s * place["height"]) for s in (0.25, 0.75)
    ]
    touch("touchStart", corners[0])
    touch("touchMove", corners[1])
    touch("touchEnd")
    saved(page)
    (region,) = kept(path)["train_1"].shapes.values()
    assert region.detail["points"][0] == pytest.approx([16, 16], abs=0.5)
    assert region.detail["points"][2] == pytest.approx([48, 48], abs=0.5)
