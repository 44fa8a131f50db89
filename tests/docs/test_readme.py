"""README.md and the READMEs of methods: their length, links and pictures."""

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
METHODS = ROOT / "wsss_lightning/methods"
IMAGES = ROOT / "docs/images"
LINK = re.compile(r"\]\(([^)\s]+)\)")
pytestmark = pytest.mark.skipif(not IMAGES.is_dir(), reason="docs/ is not in the sdist")


def test_the_readme_is_read_in_three_minutes():
    text = re.sub(r"<!--.*?-->", "", README.read_text(), flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    words = [word for word in text.split() if re.search(r"\w", word)]
    assert 700 <= len(words) <= 900


def test_the_first_commands_of_the_readme_set_everything_up():
    lines = re.findall(r"^```bash\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)[0]
    assert [line.split("#")[0].strip() for line in lines.splitlines()] == ["make demo", "make test"]


@pytest.mark.parametrize("page", [README, *sorted(METHODS.glob("*/README.md"))], ids=str)
def test_links_of_readmes_lead_somewhere(page):  # mkdocs checks all other pages
    targets = [target.partition("#")[0] for target in LINK.findall(page.read_text())]
    local = [target for target in targets if target and not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_method_has_a_short_readme_that_the_site_shows():
    folders = [path.parent for path in METHODS.glob("*/__init__.py")]
    assert folders
    pages = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    for folder in folders:
        text = (folder / "README.md").read_text()
        for part in ("**Paper", "```bash", "**Expected score.**", "**Cost.**", "**Files.**"):
            assert part in text, (folder.name, part)
        assert len(text.splitlines()) <= 40
        assert f"<!-- include {(folder / 'README.md').relative_to(ROOT).as_posix()} -->" in pages


def test_pictures_are_small_and_need_no_white_page():
    pictures = sorted(IMAGES.glob("*.png"))
    sizes = {path.name: path.stat().st_size for path in pictures}
    assert sizes["pipeline.png"] < 300_000
    assert sum(sizes.values()) < 1_500_000
    for path in pictures:
        with Image.open(path) as picture:
            assert "transparency" in picture.info, path.name
