"""Which edits change a step's key: rules on a generated package, then the steps of this one."""

import ast
import importlib
import shutil
import sys
import textwrap
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import wsss_lightning
from wsss_lightning.cache import code_digest
from wsss_lightning.cache.code_digest import UNHASHED, CodeGraph, Part, targets_in
from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.cli.checks import objective
from wsss_lightning.cli.run import collect_results, digest_of, run_pipeline
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.densecrf import native
from wsss_lightning.densecrf.api import mean_field_batch
from wsss_lightning.evaluation.metrics import miou
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.methods.cam.module import Classifier
from wsss_lightning.methods.cam.network import CamNet
from wsss_lightning.methods.seam.module import SEAM
from wsss_lightning.methods.seam.network import SeamNet
from wsss_lightning.methods.simple_does_it.grabcut import paint_grabcut
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.pipelines.image_labels import image_labels
from wsss_lightning.refiners.crf import CRF
from wsss_lightning.steps.affinity import propagate
from wsss_lightning.steps.boxes import box_labels
from wsss_lightning.steps.cams import cams
from wsss_lightning.steps.crf import crf
from wsss_lightning.steps.evaluate import evaluate_masks
from wsss_lightning.steps.previews import previews
from wsss_lightning.steps.pseudo_masks import pseudo_masks
from wsss_lightning.steps.train import crf_callback, train
from wsss_lightning.training.callbacks.dense_crf_metrics import DenseCRFMetrics
from wsss_lightning.training.distributed import PerStageDDP, translate_worker_errors
from wsss_lightning.utils.console import track

TOY = {
    "__init__.py": '"""A package of two steps, `train` and `refine`."""\nSTARTED = []\n',
    "steps.py": '''
        """Steps."""
        import math
        from typing import TYPE_CHECKING
        from toy import tables, names, whole
        from toy.maths import double as twice
        from toy.shapes import Square
        from toy.exported import moved
        from .near import beside
        from toy.engine import native
        import toy.dotted.inner
        import toy.patches
        if TYPE_CHECKING:
            from toy.unused import Typed
        LIMIT: int = 3
        LOW, HIGH = 1, 2
        SPARE = 4

        def train(folder, *, size=HIGH):
            """Train."""
            # a comment
            tables.TABLE["a"]
            return twice(LIMIT) + Square(size).area() + moved(1)

        def refine(folder):
            from toy.lazy import late
            spare = [SPARE for SPARE in (1, 2)]
            found = late(names.clip(1)) + native.run() + toy.dotted.inner.deep() + beside()
            return found, refine_more(spare)

        def refine_more(SPARE):
            program = "toy.program"
            name = "chosen"
            return getattr(whole, name), [program, SPARE]

        if __name__ == "__main__":
            train(None)
    ''',
    "maths.py": """
        from toy.deep import base
        from toy.deco import wrapped

        @wrapped
        def double(x):
            return base(x) * 2

        def unrelated(x):
            return x
    """,
    "deco.py": """
        def wrapped(function):
            return function
    """,
    "deep.py": """
        try:
            import fast_base as base
        except ImportError:
            def base(x):
                return x + 1
    """,
    "shapes.py": """
        class Shape:
            def area(self):
                return self.side**2

        class Square(Shape):
            def __init__(self, side):
                self.side = side
    """,
    "tables.py": """
        TABLE = {"a": 1}
        TABLE["b"] = 2
        OTHER = 3
    """,
    "names.py": "from toy.inner import *\n",
    "inner.py": """
        def clip(x):
            return min(x, 1)
    """,
    "lazy.py": """
        late = lambda x: x + 1
        early = lambda x: x - 1
    """,
    "whole.py": """
        def chosen():
            return 1

        def other():
            return globals()["chosen"]
    """,
    "exported/__init__.py": "from toy.exported.home import moved\n",
    "exported/home.py": """
        def moved(x):
            return x
    """,
    "near.py": """
        def beside():
            return 0
    """,
    "patches.py": """
        STATE = {"patched": True}
        STATE["more"] = 1

        def patch():
            return 1
    """,
    "program.py": """
        def main():
            return 1

        if __name__ == "__main__":
            main()
    """,
    "dotted/__init__.py": "",
    "dotted/inner.py": """
        def deep():
            return 0
    """,
    "engine/__init__.py": "",
    "engine/native.py": """
        from pathlib import Path

        SOURCE = Path(__file__).with_name("loops.cpp")

        def run():
            return SOURCE.read_text()
    """,
    "engine/loops.cpp": "int loops() { return 0; }\n",
    "methods.py": """
        class Cam:
            def __init__(self, net):
                self.net = net

        class Seam:
            def __init__(self, net):
                self.net = net

            def loss(self):
                return self.net
    """,
    "nets.py": """
        from functools import cache

        WIDTH = 8

        class Net:
            width = WIDTH

        @cache
        def small():
            return 2
    """,
    "unused.py": "class Typed:\n    pass\n",
    "space/late.py": "def work():\n    return 1\n",
}
CAM_INPUTS = {"module": {"_target_": "toy.methods.Cam", "net": {"_target_": "toy.nets.Net"}}}
SEAM_INPUTS = {"module": OmegaConf.create({"_target_": "toy.methods.Seam", "net": None})}
STEPS = {
    "train cam": ["toy.steps.train", *targets_in(CAM_INPUTS)],
    "train seam": ["toy.steps.train", *targets_in(SEAM_INPUTS)],
    "refine": ["toy.steps.refine"],
}
TRAIN = {"train cam", "train seam"}
ALL = {*TRAIN, "refine"}


@pytest.fixture
def toy(tmp_path):
    for name, text in TOY.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path / "toy"


def toy_digests(folder):
    graph = CodeGraph(["toy"], {"toy": folder})
    return {name: graph.digest(targets=targets) for name, targets in STEPS.items()}


EDITS = {
    # what changes nothing
    "a docstring": ("steps.py", '"""Train."""', '"""Train a network."""', set()),
    "a docstring that goes": ("steps.py", '"""Train."""', "", set()),
    "a module's docstring": ("steps.py", '"""Steps."""', '"""Some."""', set()),
    "a comment": ("steps.py", "# a comment", "# another one", set()),
    "layout": ("steps.py", "twice(LIMIT) + ", "twice(\n        LIMIT\n    ) + ", set()),
    "quotes": ("steps.py", 'TABLE["a"]', "TABLE['a']", set()),
    "a new function": ("maths.py", "def unrelated", "def new():\n    pass\n\ndef unrelated", set()),
    "another function": ("maths.py", "    return x\n", "    return -x\n", set()),
    "another constant": ("tables.py", "OTHER = 3", "OTHER = 4", set()),
    "a constant whose name is a local one": ("steps.py", "SPARE = 4", "SPARE = 5", set()),
    "another lambda": ("lazy.py", "x - 1", "x - 2", set()),
    "the program's own part": ("steps.py", "train(None)", "train(1)", set()),
    "a function of an import without a use": ("patches.py", "return 1", "return 2", set()),
    "an import for types": ("unused.py", "pass", "x = 1", set()),
    "a cached function that is not used": ("nets.py", "return 2", "return 3", set()),
    # what changes the steps that use it
    "a line of a step": ("steps.py", "twice(LIMIT) +", "twice(LIMIT) -", TRAIN),
    "a default": ("steps.py", "size=HIGH", "size=LOW", TRAIN),
    "a default's constant": ("steps.py", "LOW, HIGH = 1, 2", "LOW, HIGH = 1, 3", TRAIN),
    "a constant": ("steps.py", "LIMIT: int = 3", "LIMIT: int = 4", TRAIN),
    "what is imported": ("maths.py", "* 2", "* 3", TRAIN),
    "which library is imported": ("deep.py", "import fast_base as", "import slow_base as", TRAIN),
    "through two imports, within try": ("deep.py", "x + 1", "x + 2", TRAIN),
    "a decorator": ("deco.py", "return function", "return print", TRAIN),
    "a base class": ("shapes.py", "self.side**2", "self.side**3", TRAIN),
    "a new method of a used class": (
        "shapes.py",
        "class Square(Shape):\n",
        "class Square(Shape):\n    def __len__(self):\n        return 1\n",
        TRAIN,
    ),
    "a table that is changed later": ("tables.py", '["b"] = 2', '["b"] = 3', TRAIN),
    "a name that a package exports": ("exported/home.py", "return x", "return -x", TRAIN),
    "an import within a function": ("lazy.py", "x + 1", "x + 2", {"refine"}),
    "a star import": ("inner.py", "min(x, 1)", "min(x, 2)", {"refine"}),
    "getattr of a module": ("whole.py", "return 1", "return 2", {"refine"}),
    "a relative import": ("near.py", "return 0", "return 1", {"refine"}),
    "a dotted import": ("dotted/inner.py", "return 0", "return 1", {"refine"}),
    "a function of a function": ("steps.py", "[program, SPARE]", "[SPARE]", {"refine"}),
    "a program named in a string": ("program.py", "return 1", "return 2", {"refine"}),
    "a C++ source": ("engine/loops.cpp", "return 0", "return 1", {"refine"}),
    "a target": ("methods.py", "return self.net", "return self.net + 1", {"train seam"}),
    "a constant of a nested target": ("nets.py", "WIDTH = 8", "WIDTH = 9", {"train cam"}),
    # what acts when it is imported
    "an import without a use": ("patches.py", '["more"] = 1', '["more"] = 2', ALL),
    "a call": ("steps.py", "SPARE = 4", "SPARE = 4\nprint(1)", ALL),
    "a call in a package": ("__init__.py", "STARTED = []", "STARTED = [id(1)]", ALL),
    "a call in an imported module": ("lazy.py", "early = ", "print()\nearly = ", {"refine"}),
}


@pytest.mark.parametrize(("file", "old", "new", "changed"), EDITS.values(), ids=EDITS)
def test_an_edit_changes_the_keys_of_the_steps_that_use_it(toy, file, old, new, changed):
    before = toy_digests(toy)
    text = (toy / file).read_text()
    assert text.count(old) == 1
    (toy / file).write_text(text.replace(old, new))
    after = toy_digests(toy)
    assert {name for name in STEPS if before[name] != after[name]} == changed


def test_a_new_file_changes_no_key(toy):
    before = toy_digests(toy)
    (toy / "more.py").write_text("print()\n")
    (toy / "exported/more.py").write_text("print()\n")
    assert toy_digests(toy) == before


def test_a_new_file_beside_a_c_source_changes_the_keys_of_what_may_include_it(toy):
    before = toy_digests(toy)
    (toy / "engine/loops.h").write_text("int n;\n")
    after = toy_digests(toy)
    assert {name for name in STEPS if before[name] != after[name]} == {"refine"}


def test_packages_that_are_not_named_are_not_followed(toy):
    assert not CodeGraph(folders={"toy": toy}).used(targets=["toy.steps.train", "torch.nn.Linear"])


def test_a_package_without_init_is_followed(toy):
    graph = CodeGraph(["toy"], {"toy": toy})
    assert Part("toy.space.late", "work") in graph.used(targets=["toy.space.late.work"])


def test_a_name_that_is_not_found_counts_as_its_whole_module(toy):
    used = CodeGraph(["toy"], {"toy": toy}).used(targets=["toy.shapes.Circle"])
    assert {Part("toy.shapes", "Shape"), Part("toy.shapes", "Square")} <= used


def test_targets_are_found_however_deep():
    @dataclass
    class Setting:
        made: dict

    inputs = {
        "a": [CAM_INPUTS, 3],
        "b": Setting({"_target_": "x.Y"}),
        "c": OmegaConf.create([CAM_INPUTS]),
    }
    assert sorted(targets_in(inputs)) == sorted([*2 * [*targets_in(CAM_INPUTS)], "x.Y"])


# functions, methods and objects as steps

OBJECTS = """
    class Base:
        shared = 1

        def __init__(self, size):
            self.size = size

        def helper(self):
            return 1

    class Steps(Base):
        def fit(self, folder):
            return self._inner() + super().helper()

        def _inner(self):
            return [self.size for _ in range(3)]

        def crf(self, folder):
            return everything(self)

    class Work:
        __name__ = "work"

        def __call__(self, folder):
            return 5

    def everything(steps):
        return 6

    def function(folder, size):
        return size

    def nested():
        def inner(folder):
            return 7
        return inner

    unnamed = lambda folder: 8
"""


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """`imported(old, new)`: the module of OBJECTS with this change, imported anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def get(old="", new=""):
        sys.modules.pop("toy_objects", None)
        text = textwrap.dedent(OBJECTS)
        assert not old or text.count(old) == 1
        (tmp_path / "toy_objects.py").write_text(text.replace(old, new))
        importlib.invalidate_caches()
        return importlib.import_module("toy_objects")

    yield get
    sys.modules.pop("toy_objects", None)


def object_digests(module):
    steps, graph = module.Steps(3), CodeGraph()
    works = {
        "fit": steps.fit,
        "crf": steps.crf,
        "work": module.Work(),
        "function": partial(partial(module.function, size=3)),
        "nested": module.nested(),
        "unnamed": module.unnamed,
    }
    return {name: graph.digest(work) for name, work in works.items()}


METHODS = {"fit", "crf"}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("self._inner() +", "self._inner() -", METHODS),
        ("return 1", "return -1", METHODS),  # of the base class
        ("shared = 1", "shared = 2", METHODS),
        ("return 6", "return -6", METHODS),
        ("return 5", "return -5", {"work"}),
        ("return size", "return -size", {"function"}),
        ("return 7", "return -7", {"nested"}),
        ("folder: 8", "folder: -8", set()),
    ],
)
def test_an_edit_changes_the_methods_and_objects_that_use_it(imported, old, new, changed):
    before, after = object_digests(imported()), object_digests(imported(old, new))
    # of a lambda only the module is known
    assert {name for name in before if before[name] != after[name]} == {*changed, "unnamed"}


def test_a_module_counts_as_it_was_imported_until_it_is_reloaded(imported):
    module = imported()
    before = CodeGraph().digest(module.function)
    path = Path(module.__file__)
    path.write_text(path.read_text().replace("return size", "return -size"))
    assert CodeGraph().digest(module.function) == before
    assert CodeGraph().digest(importlib.reload(module).function) != before


def test_a_step_that_is_defined_in_no_file_is_refused(monkeypatch):
    space = {"__name__": "typed_in"}
    exec("def step(folder):\n    pass", space)
    with pytest.raises(ValueError, match=r"step.*not defined in a file"):
        CodeGraph().digest(space["step"])


# the steps of this package


def target(made, **inner):
    return {"_target_": f"{made.__module__}.{made.__qualname__}", **inner}


DATA = {"data": {"dataset": target(VOCDataset)}}
NETWORK = {"backbone": target(Backbone)}
CAM_MODULE = target(Classifier, net=target(CamNet, **NETWORK))
SEAM_MODULE = target(SEAM, net=target(SeamNet, **NETWORK))
REAL_STEPS = {
    "train cam": (train, {"module": CAM_MODULE, **DATA}),
    "train seam": (train, {"module": SEAM_MODULE, **DATA}),
    "train with crf": (train, {"module": CAM_MODULE, "crf": target(crf_callback), **DATA}),
    "cams": (cams, DATA),
    "crf": (crf, DATA),
    "pseudo masks": (pseudo_masks, DATA),
    "evaluate": (evaluate_masks, DATA),
    "previews": (previews, DATA),
    "walk": (propagate, DATA),
    "box labels": (box_labels, {"rule": target(paint_grabcut), **DATA}),
}
TRAININGS = {"train cam", "train seam", "train with crf"}


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    source = Path(wsss_lightning.__file__).parent
    folder = tmp_path_factory.mktemp("copy") / source.name
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def real_digests(folder):
    graph = CodeGraph(folders={"wsss_lightning": folder})
    return {
        name: graph.digest(work, targets_in(inputs)) for name, (work, inputs) in REAL_STEPS.items()
    }


@pytest.fixture(scope="module")
def unchanged(copied):
    return real_digests(copied)


@pytest.fixture
def edit(copied, unchanged):
    """`edit(made, change)`: which steps change with the text of the file that defines `made`."""
    changed = []

    def call(made, change):
        file = Path(sys.modules[made.__module__].__file__)
        path = copied / file.relative_to(Path(wsss_lightning.__file__).parent)
        changed.append((path, path.read_text()))
        path.write_text(change(path.read_text()))
        assert path.read_text() != changed[-1][1]
        after = real_digests(copied)
        return {name for name in unchanged if after[name] != unchanged[name]}

    yield call
    for path, text in changed:
        path.write_text(text)


def with_line(made, text, line="assert True"):
    """The source with another statement at the begin of a function, or of a class's first one."""
    nodes = [n for n in ast.walk(ast.parse(text)) if getattr(n, "name", "") == made.__name__]
    node = nodes[0]
    if isinstance(node, ast.ClassDef):
        node = next(n for n in node.body if isinstance(n, ast.FunctionDef))
    last = node.body[-1]
    lines = text.splitlines()
    lines.insert(last.lineno - 1, " " * last.col_offset + line)
    return "\n".join(lines)


def test_the_copy_has_the_digests_of_the_original(unchanged):
    assert real_digests(Path(wsss_lightning.__file__).parent) == unchanged
    assert len(set(unchanged.values())) == len(unchanged)


USES = {
    mean_field_batch: {"crf", "train with crf"},
    DenseCRFMetrics: {"train with crf"},
    SEAM: {"train seam"},
    SeamNet: {"train seam"},
    Classifier: {"train cam", "train with crf"},
    CamNet: {"train cam", "train with crf"},
    Backbone: TRAININGS,
    TagMethod: {*TRAININGS, "cams"},
    paint_grabcut: {"box labels"},
    miou: {"evaluate", "previews", "train with crf"},
    VOCDataset: set(REAL_STEPS),
    # what shows, explains and chooses
    track: set(),
    translate_worker_errors: set(),
    StageCache: set(),
    run_pipeline: set(),
    image_labels: set(),
    CRF: set(),
    PerStageDDP: set(),  # counts with the trainer that has it
}


@pytest.mark.parametrize(("made", "steps"), USES.items(), ids=[m.__qualname__ for m in USES])
def test_a_changed_line_changes_the_keys_of_the_steps_that_run_it(edit, made, steps):
    assert edit(made, partial(with_line, made)) == steps


@pytest.mark.parametrize("made", USES, ids=[m.__qualname__ for m in USES])
def test_docstrings_comments_and_new_functions_change_no_key(edit, made):
    def change(text):
        text = with_line(made, text, '"""Another docstring."""  # and a comment')
        return f"{text}\n\ndef new_function():\n    return 1\n"

    assert edit(made, change) == set()


def test_the_compiled_crf_counts_with_its_source(copied, unchanged):
    (source,) = copied.rglob(native.SOURCE.name)
    text = source.read_text()
    source.write_text(f"{text}\nint more;\n")
    after = real_digests(copied)
    source.write_text(text)
    assert {name for name in after if after[name] != unchanged[name]} == {"crf", "train with crf"}


def test_a_new_method_a_new_report_and_new_commands_change_no_key(copied, unchanged):
    folders = [p.parent for p in copied.rglob("__init__.py")]
    assert len(folders) > 5
    for folder in folders:
        (folder / "added.py").write_text("import wsss_lightning.cli.run\nprint(1)\n")
    after = real_digests(copied)
    for folder in folders:
        (folder / "added.py").unlink()
    assert after == unchanged


def test_no_step_uses_the_report_or_the_command_line(copied):
    graph = CodeGraph(folders={"wsss_lightning": copied})
    for work, inputs in REAL_STEPS.values():
        for part in graph.used(work, targets_in(inputs)):
            assert not part.module.startswith(("wsss_lightning.report", "wsss_lightning.cli"))


@pytest.mark.parametrize(
    ("made", "changes"),
    [
        (mean_field_batch, True),  # by the refiner
        (image_labels, True),
        (collect_results, True),  # writes the file
        (Classifier, True),
        (SEAM, False),
        (objective, False),
        (run_pipeline, False),
    ],
)
def test_the_results_of_a_run_count_with_all_code_that_made_them(
    monkeypatch, copied, edit, made, changes
):
    graph = CodeGraph
    monkeypatch.setattr(
        code_digest, "CodeGraph", lambda *_: graph(folders={"wsss_lightning": copied})
    )
    cfg = OmegaConf.create(
        {
            "pipeline": target(image_labels),
            "refine": target(CRF),
            "method": CAM_MODULE,
            "trainer": {},
            **DATA,
        }
    )
    before = digest_of(cfg, "data")
    edit(made, partial(with_line, made))
    assert (digest_of(cfg, "data") != before) is changes


@pytest.mark.parametrize("name", UNHASHED)
def test_what_is_left_out_exists(name):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, definition = name.rpartition(".")
        assert hasattr(importlib.import_module(module), definition)
    assert UNHASHED[name]


def test_all_digests_of_a_run_take_little_time(copied):
    real_digests(copied)
    begun = time.process_time()
    real_digests(copied)  # with all files read and parsed
    assert time.process_time() - begun < 1
