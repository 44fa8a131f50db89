"""Every example in README.md, CONTRIBUTING.md and docs/ works.

Python blocks are executed, page by page. Commands are composed by the product's own command line;
those of the quickstart really run, on tiny data. A block that cannot run here has the comment
`<!-- not run: REASON -->` above it, and REASONS counts them.
"""

import importlib
import re
import shlex
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import yaml
from commands import TINY, Outcome, there
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from wsss_lightning import api
from wsss_lightning.cli import run as cli
from wsss_lightning.cli.verbs import VERBS, split_verb

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "wsss_lightning/methods").glob("*/README.md")),
]
pytestmark = pytest.mark.skipif(
    not (ROOT / "docs/index.md").is_file(), reason="docs/ is not in the sdist"
)
# why a block does not run, and how many do not
REASONS = {
    "installs packages": 5,
    "needs Docker": 1,
    "needs a download": 2,
    "needs a failed run": 1,
    "needs a W&B account": 2,
}
KINDS = ("bash", "python", "yaml", "text")
# verbs whose arguments are overrides of the configuration
HYDRA = {"run", "check-data"}
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?^```(?P<kind>\w*)(?: title=\"(?P<title>.+?)\")?\n"
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    kind: str
    text: str
    title: str | None
    reason: str | None

    def commands(self) -> list["Command"]:
        """Its commands, without comments and line breaks."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [command(words) for line in lines if (words := shlex.split(line, comments=True))]


@dataclass(frozen=True, order=True)
class Command:
    """Words of a command, and the environment variables set before them."""

    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]

    @property
    def is_ours(self) -> bool:
        return self.words[:3] == ("python", "-m", "wsss_lightning")

    @property
    def verb(self) -> str:
        """Verb of the command line; empty for another program."""
        return split_verb(self.words[3:])[0] if self.is_ours else ""

    @property
    def arguments(self) -> list[str]:
        """Arguments of the verb."""
        return split_verb(self.words[3:])[1]

    def __str__(self) -> str:
        return " ".join(self.words)


def command(words: list[str]) -> Command:
    first = next(i for i, word in enumerate(words) if not re.match(r"[A-Z_]+=", word))
    pairs = [word.partition("=") for word in words[:first]]
    return Command(tuple(words[first:]), tuple((name, value) for name, _, value in pairs))


def blocks(page: Path) -> list[Block]:
    matches = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [
        Block(page, match["kind"], match["text"], match["title"], match["reason"])
        for match in matches
    ]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


ALL = [block for page in PAGES if page.is_file() for block in blocks(page)]
RUN = [block for block in ALL if block.reason is None]
COMMANDS = sorted(
    {one for block in RUN if block.kind == "bash" for one in block.commands() if one.verb in HYDRA}
)


def test_blocks_that_do_not_run_are_known_and_counted():
    assert Counter(block.reason for block in ALL if block.reason) == REASONS


def test_every_block_says_what_it_is():
    kinds = {(named(block.page), block.kind) for block in ALL if block.kind not in KINDS}
    # the generated part of recipes.md shows its commands without a language
    assert kinds == {("docs/recipes.md", "")}


# pages whose examples train networks
# the last one uses the run of the first
TRAINING = (ROOT / "README.md", ROOT / "docs/python_api.md", ROOT / "docs/export.md")


def run_python(page: Path) -> None:
    namespace: dict = {"__name__": "example"}
    for block in RUN:
        if block.page == page and block.kind == "python":
            exec(compile(block.text, named(page), "exec"), namespace)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.page == page and b.kind == "python" for b in RUN)
             and page not in TRAINING],
    ids=named,
)  # fmt: skip
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_python(page)


@pytest.mark.slow
def test_python_examples_that_train_run_on_tiny_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for path in (tmp_path / "photo.jpg", tmp_path / "photos/a photo.png"):
        Image.new("RGB", (96, 80), (200, 40, 40)).save(path)
    given = api._arguments
    tiny = (*TINY, "hydra.run.dir=runs/cam")  # the folder that the pages name
    monkeypatch.setattr(api, "_arguments", lambda *words: [*given(*words), *tiny])
    for page in TRAINING:
        run_python(page)


def test_yaml_examples_parse():
    examples = [block for block in RUN if block.kind == "yaml"]
    assert len(examples) >= 5
    for block in examples:
        assert isinstance(yaml.safe_load(block.text), dict), block


def write_files(folder: Path, words: tuple[str, ...]) -> None:
    """Those files of the pages which a command chooses, as `data=pets` chooses `pets.yaml`."""
    chosen = {word.partition("=")[2] for word in words}
    for block in RUN:
        if block.kind == "yaml" and block.title and Path(block.title).stem in chosen:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)


def test_pages_agree_on_the_files_that_they_show():
    shown: dict[str, set[frozenset]] = {}
    for block in RUN:
        if block.title and block.kind == "yaml":
            data = yaml.safe_load(block.text)
            classes = frozenset(data.get("dataset", {}).get("classes", ()))
            shown.setdefault(block.title, set()).add(classes)
    assert shown
    assert all(len(classes) == 1 for classes in shown.values())


def jobs(words: list[str]) -> list[list[str]]:
    """A command without its sweep: one command for each job, that prints its configuration."""
    kept = [word for word in words if word not in ("-m", "--multirun")]
    parser = OverridesParser.create()
    choices = []
    for word in kept:
        is_override = "=" in word and not word.startswith("-")
        override = parser.parse_override(word) if is_override and len(kept) < len(words) else None
        if override is not None and override.is_sweep_override():
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([word])
    return [list(job) for job in product(*choices)]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_commands_compose(command, here, monkeypatch, tmp_path):
    write_files(tmp_path, command.words)
    arguments = command.arguments
    for name, value in command.environment:
        monkeypatch.setenv(name, value)
    if "--help" in arguments:
        assert here(*arguments).code == 0
        return
    for folder in ("-cd", "--config-dir"):
        if folder in arguments:
            i = arguments.index(folder) + 1
            place = tmp_path / arguments[i]
            arguments[i] = str(place if place.is_dir() else ROOT / arguments[i])
    for job in jobs(arguments)[:3]:
        printing = [*job, *([] if "--cfg" in job else ["--cfg", "job"])]
        result = composed(command.verb, printing, here, monkeypatch)
        assert result.code == 0, (job, result.err)
        assert "seed:" in result.out


def composed(verb: str, words: list[str], here, monkeypatch) -> Outcome:
    with monkeypatch.context() as patched:
        # the fixture `here` calls the main of a run
        patched.setattr(cli, "main", partial(main_of(verb), words))
        return here(*words)


def main_of(verb: str):
    return importlib.import_module(VERBS[verb].module).main


OTHER = sorted({one for b in RUN if b.kind == "bash" for one in b.commands()} - set(COMMANDS))


@pytest.mark.parametrize("command", OTHER, ids=str)
def test_other_commands_exist_with_their_options(command, capsys):
    words, program = command.words, command.words[0]
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets
    elif command.is_ours:
        with pytest.raises(SystemExit) as stop:
            main_of(command.verb)(["--help"])
        assert not stop.value.code
        options = {word for word in command.arguments if word.startswith("--")}
        printed = capsys.readouterr().out
        assert [option for option in options if option not in printed] == []
    elif program in ("python", ".venv/bin/python"):
        assert (ROOT / words[1]).is_file()
    else:
        pytest.fail(f"{program} is no known program; mark its block as not run")


def test_commands_are_found():  # so that a change of their notation does not empty the tests
    assert len(COMMANDS) > 30
    assert len(OTHER) > 5
    assert {command.verb for command in COMMANDS} == HYDRA


@pytest.mark.slow
def test_the_quickstart_runs(here, tmp_path):
    page = ROOT / "docs/quickstart.md"
    found = [one for b in RUN if b.page == page and b.kind == "bash" for one in b.commands()]
    runs = [one.arguments for one in found if one.verb == "run"]
    single = [w for w in runs if not {"-m", "--help", "--cfg", "data=folder"} & set(w)]
    (sweep,) = (w for w in runs if "-m" in w)
    (report,) = (one.words[3:] for one in found if one.verb == "report")
    assert single[0] == ["experiment=cam"]
    # the last one finds most steps of the first; those between are composed only
    for words in (single[0], single[-1]):
        outcome = here(*words, *TINY)
        assert outcome.scores["pseudo/train/miou"] > 0
        # what the page says is there, and experiments/pictures.py draws
        for step in ("seeds/train", "crf/train", "pseudo"):
            assert [p for p in (outcome.folder / step).iterdir() if p.suffix in (".npz", ".png")]
    assert "seed=0,1,2" in sweep
    experiments = next(word for word in sweep if word.startswith("experiment="))
    first_two = ",".join(experiments.split(",")[:2])
    others = [word for word in sweep if word not in ("seed=0,1,2", experiments)]
    assert here(*others, first_two, "seed=0", "pipeline.segment=false", *TINY).code == 0
    outcome = there(*report, folder=tmp_path)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "report.html").is_file()
    GlobalHydra.instance().clear()
