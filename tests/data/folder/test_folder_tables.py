"""Tables of tags in every dialect are read as the tags that were written."""

import csv
import io

import pytest
from facts import assert_names, raises_naming
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photo_sets import opened

from wsss_lightning.data.folder.tables import read_tags
from wsss_lightning.errors import InputError

NAMES = ["a b.JPG", "Übung, 2.jpg", "sub/c #3.png", 'd "4".jpg', "e.v2.jpeg", "10.jpg"]
TAGS = dict(zip(NAMES, [["cat"], ["dog", "cat"], [], ["sea lion"], ["dog"], ["cat"]], strict=True))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return opened(tmp_path_factory.mktemp("photos"), NAMES)


@pytest.fixture
def read(photos, tmp_path):
    def call(text: str | bytes, columns=None, name: str = "tags.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_tags(path, photos, columns)

    return call


def tags_by_file(labels, photos) -> dict[str, set[str]]:
    files = {photo.name: photo.relative for photo in photos.photos}
    return {files[name]: set(words) for name, words in labels.words.items()}


def written_name(draw, name: str) -> str:
    """A name with or without suffix and folder, in any case."""
    text = draw(st.sampled_from([name, name.rpartition("/")[2], name.replace("/", "\\")]))
    if draw(st.booleans()):
        text = text.rpartition(".")[0]
    return draw(st.sampled_from([text, text.upper(), text.lower()]))


@st.composite
def tables(draw) -> bytes:
    """The tags as a table of a random dialect."""
    separator = draw(st.sampled_from(",;\t|"))
    rows: list[list[str]] = []
    form = draw(st.sampled_from(["columns", "cell", "rows", "cells"]))
    names = draw(st.permutations(NAMES))
    classes = ["cat", "dog", "sea lion"]
    heading = draw(st.sampled_from(["Filename", "image", "Datei", "Photo ID", ""]))
    front = draw(st.booleans())
    if form == "columns":
        yes, no = draw(
            st.sampled_from(
                [("1", "0"), ("x", ""), ("TRUE", "FALSE"), ("yes", "no"), ("1.0", "0.0")]
            )
        )
        rows.append([heading, *classes])
        rows += [
            [written_name(draw, n), *(yes if c in TAGS[n] else no for c in classes)] for n in names
        ]
    elif form == "cell":
        inner = draw(st.sampled_from([", ", ",", "; ", " | "]))
        rows.append([heading, draw(st.sampled_from(["Tags", "labels", "Klasse", "What it shows"]))])
        rows += [[written_name(draw, n), inner.join(TAGS[n])] for n in names]
    elif form == "rows":
        rows.append([heading, "class"])
        rows += [[written_name(draw, n), t] for n in names for t in (TAGS[n] or [""])]
    else:
        rows.append([heading, "tag 1", "tag 2"])
        rows += [[written_name(draw, n), *TAGS[n], *[""] * (2 - len(TAGS[n]))] for n in names]
    if front:  # pandas numbers rows
        rows = [["" if i == 0 else f"{i + 100}", *row] for i, row in enumerate(rows)]
    if rows[0][-1] == "What it shows" and front:
        rows[0][-1] = "Tags"
    prefix = draw(st.sampled_from(["", "C:\\Photos\\", "/data/img/"]))  # of another machine
    column = 1 if front else 0
    for row in rows[1:]:
        row[column] = prefix + row[column]
    text = io.StringIO()
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    ends = draw(st.sampled_from(["\n", "\r\n"]))
    csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=ends).writerows(rows)
    lead = draw(st.sampled_from(["", f"sep={separator}{ends}"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    return (lead + text.getvalue()).encode(encoding)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=tables())
def test_a_table_of_any_dialect_is_read_as_it_was_written(photos, tmp_path, content):
    path = tmp_path / "tags.csv"
    path.write_bytes(content)
    labels = read_tags(path, photos, None)
    assert tags_by_file(labels, photos) == {name: set(tags) for name, tags in TAGS.items()}, content
    assert labels.missing == []
    assert "tags.csv" in labels.source


A, B, C = "10.jpg", "a b.JPG", "e.v2.jpeg"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # without a header
        ("10.jpg,cat\na b.JPG,dog\n", {A: {"cat"}, B: {"dog"}}),
        ("10.jpg;cat, dog, cow\na b;dog\n", {A: {"cat", "dog", "cow"}, B: {"dog"}}),
        # the photo that the first row names does not exist
        ("gone.jpg,cat\n10.jpg,cat\n", {A: {"cat"}}),
        # separated by blanks
        ("10.jpg cat dog\ne.v2.jpeg cat\n", {A: {"cat", "dog"}, C: {"cat"}}),
        # lists as programs print them
        ("file\tlabels\n10\t['cat', 'sea lion']\n", {A: {"cat", "sea lion"}}),
        # entries that stand for no class
        ("file,label\n10,background\na b,none\ne.v2,cat\n", {A: set(), B: set(), C: {"cat"}}),
        # blanks separate classes that occur alone
        (
            "file,label\n10,cat dog\na b,dog\ne.v2,cat\n",
            {A: {"cat", "dog"}, B: {"dog"}, C: {"cat"}},
        ),
        # CelebA
        ("image_id,Smiling,Hat\n10.jpg,-1,1\na b.JPG,1,1\n", {A: {"Hat"}, B: {"Smiling", "Hat"}}),
        # a known heading among other columns of words
        ("file,photographer,tags\n10,Ann,cat\na b,Bob,cat\n", {A: {"cat"}, B: {"cat"}}),
        # cells that were not quoted run on
        ("Filename;Tags;;\n10;cat;dog;\na b;dog;;\n", {A: {"cat", "dog"}, B: {"dog"}}),
        # folders of another machine
        ("file,label\n/home/me/10.jpg,cat\n/home/me/x/a b.JPG,dog\n", {A: {"cat"}, B: {"dog"}}),
        # numbers of classes
        ("file,label\n10.jpg,3\na b.JPG,7\n", {A: {"3"}, B: {"7"}}),
        # a heading that is also the name of a class, and of a photo
        ("name,cat\n10,x\na b,\n", {A: {"cat"}, B: set()}),
    ],
)
def test_what_people_write_is_understood(read, photos, text, expected):
    assert tags_by_file(read(text), photos) == expected


def test_columns_that_are_not_read_are_named(read):
    labels = read("file,width,taken,cat,dog\n10,640,2024-01-03,1,0\na b,640,2024-01-04,0,1\n")
    assert_names(labels.source, "cat, dog", "file")
    assert_names(" ".join(labels.notes), "width, taken")


def test_rows_without_a_photo_are_kept_apart(read):
    labels = read("file,tags\n10,cat\nelsewhere/z.jpg,dog\n")
    assert labels.missing == ["elsewhere/z.jpg"]


def test_empty_cells_beside_zeros_are_counted(read):
    labels = read("file,cat,dog\n10,1,\na b,0,1\n")
    assert_names(" ".join(labels.notes), 0, "empty")
    labels = read("file,cat,dog\n10,x,\na b,,x\n")
    assert labels.notes == []


def test_the_column_with_suffixes_names_photos_and_not_the_number_of_a_row(tmp_path):
    photos = opened(tmp_path / "numbers", ["1.jpg", "2.jpg", "3.jpg"])
    path = tmp_path / "tags.csv"
    path.write_text("id,photo,tags\n1,3.jpg,cat\n2,gone.jpg,dog\n3,1.jpg,owl\n")
    assert read_tags(path, photos, None).words == {"3": ["cat"], "1": ["owl"]}
    path.write_text("id,photo,tags\n1,3,cat\n2,2,dog\n3,1,owl\n")
    assert read_tags(path, photos, None).words == {"3": ["cat"], "2": ["dog"], "1": ["owl"]}
    path.write_text("id,number,tags\n1,3,cat\n2,2,dog\n3,1,owl\n")
    with raises_naming(InputError, "id", "number", "image"):
        read_tags(path, photos, None)


def test_columns_may_be_chosen(read, photos):
    text = "file,seen,sure\n10,cat,cat\na b,dog,\n"
    with raises_naming(InputError, "seen, sure", "tag_columns"):
        read(text)
    assert tags_by_file(read(text, ["Sure"]), photos) == {"10.jpg": {"cat"}, "a b.JPG": set()}
    with raises_naming(InputError, "maybe", "tag_columns", "seen, sure"):
        read(text, ["maybe"])


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", ["tags.csv"]),
        ("file,tags\nx1.jpg,cat\n", ["a b.JPG", "file,tags", "`root`"]),
        ("file\n10\na b\n", ["tags", "column"]),
        ("file,width\n10,640\n", ["10,640"]),
        ("file,label\n10,1\na b,0\n", ["label", "0 and 1"]),
        ("10,1,0\na b,0,1\n", ["headings"]),
        ("file,cat\n10,1\n10.jpg,0\n", ["line 3", "10.jpg"]),
        ("file,cat\n10,1\na b,0\ne.v2,-1\n", ["cat", "-1"]),
        ("file,cat,Cat\n10,1,0\na b,0,1\n", ["Cat"]),
        ("file,animal kind,outdoor\n10,cat,1\na b,cat,0\n", ["animal kind, outdoor"]),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused_with_what_was_seen(read, text, facts):
    with raises_naming(InputError, *facts):
        read(text)


def test_a_name_that_fits_two_photos_is_refused(tmp_path):
    photos = opened(tmp_path / "twice", ["a.jpg", "a.png", "b.jpg"])
    path = tmp_path / "tags.csv"
    path.write_text("file,tags\na,cat\nb,dog\n")
    with raises_naming(InputError, "line 2", "a.jpg", "a.png"):
        read_tags(path, photos, None)
    path.write_text("file,tags\na.jpg,cat\na.png,dog\n")
    assert read_tags(path, photos, None).words == {"a.jpg": ["cat"], "a.png": ["dog"]}
