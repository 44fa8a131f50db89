"""What `python -m wsss_lightning recipes` prints."""

import re
from io import StringIO

import pytest
from facts import raises_naming
from rich.console import Console

from wsss_lightning.errors import InputError
from wsss_lightning.recipes import read_recipe, recipe_names
from wsss_lightning.recipes.__main__ import main, print_recipe


def test_all_recipes_are_listed(capsys):
    main([])
    printed = re.sub(r"\s+", "", capsys.readouterr().out)
    for name in recipe_names():
        assert name in printed


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_printed_with_every_row_and_differences_first(name):
    recipe, file = read_recipe(name), StringIO()
    print_recipe(recipe, Console(file=file, width=400))
    printed = file.getvalue()
    for setting in recipe.settings:
        assert setting.key in printed
        assert setting.source in printed
    for fact in recipe.facts:
        assert fact.official in printed
    first_setting = printed.index(recipe.settings[0].source, printed.index("Settings ("))
    for row in recipe.deliberate:
        assert printed.index(row.reason) < first_setting
        assert row.effect in printed


def test_an_unknown_name_is_answered_with_the_nearest():
    with raises_naming(InputError, "seam_voc", "seam_voc2012"):
        main(["seam_voc"])
