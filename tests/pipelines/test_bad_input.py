"""Bad input ends a command with an answer that names what is wrong and how to fix it."""

import os
from pathlib import Path

import pytest
from bad_input import BAD_BOXES, BAD_DATA, BEGIN, CASES, END, SLIPS, answer_of, row_of
from commands import TINY
from facts import assert_names

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs/bad_input.md"
RECORD = os.environ.get("WSSS_RECORD_ANSWERS")  # set by docs/generate.py: a file for new rows


def named(case):
    return " ".join(case) if isinstance(case, tuple) else case


@pytest.mark.parametrize(("section", "case"), CASES, ids=lambda value: named(value))
def test_bad_input_is_answered_before_work_starts(here, mine, voc, shared, tmp_path, section, case):
    if section == "Configuration":
        facts, given = SLIPS[case], {word.split("=")[0] for word in case}
        tiny = [] if "data=voc2012" in case else [w for w in TINY if w.split("=")[0] not in given]
        told = here(*case, *tiny)
    elif section == "Data set":
        spoil, words, facts = BAD_DATA[case]
        spoil(voc)
        told = here(*mine, *words)
    else:
        spoil, facts = BAD_BOXES[case]
        spoil(voc / "Annotations/train_0.xml")
        told = here("experiment=box", *mine[1:])
    assert told.code == 1
    assert_names(told.err, "error:", *facts)
    assert "Traceback" not in told.out + told.err
    assert "Error executing job" not in told.err
    assert "round_0" not in told.out
    assert not list(tmp_path.rglob("results.json"))
    # of a start that came to no stage, nothing remains
    assert all(len(list(path.iterdir())) > 1 for path in tmp_path.glob("runs/*"))
    row = row_of(section, case, answer_of(told.err, {"DATA": voc, "CONF": voc.with_name("conf")}))
    if RECORD:
        with Path(RECORD).open("a") as file:
            file.write(f"{row}\n")
    elif PAGE.is_file():  # docs/ is not in the sdist
        said = "run python docs/generate.py bad_input"
        assert row in PAGE.read_text().splitlines(), said


@pytest.mark.skipif(not PAGE.is_file(), reason="docs/ is not in the sdist")
def test_the_page_has_a_row_for_every_case_and_no_other():
    generated = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [line for line in generated.splitlines() if line.startswith("| ")]
    heads = 2 * generated.count("## ")
    assert len(rows) - heads == len(CASES) > 60
