"""`wsss-lightning recipes`: settings of published runs and our differences."""

import argparse
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wsss_lightning.cli.parser import verb_parser
from wsss_lightning.recipes.comparison import format_value
from wsss_lightning.recipes.schema import Fact, Recipe, Setting
from wsss_lightning.recipes.tables import read_recipe, recipe_names

COMMAND = "python -m wsss_lightning recipes"
DESCRIPTION = """
Print the settings of published runs with their sources, and where our experiments differ on
purpose.
"""
EXAMPLES = ("recipes", "recipes seam_voc2012")


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    made = verb_parser("recipes", DESCRIPTION, EXAMPLES)
    name = made.add_argument("name", nargs="?", help="a recipe; default: list all recipes")
    name.completer = lambda **_: recipe_names()  # type: ignore[attr-defined]
    made.add_argument(
        "--markdown", action="store_true", help="print the generated part of docs/recipes.md"
    )
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        InputError: there is no such recipe, or its table is invalid.
    """
    options = parser().parse_args(arguments)
    names = recipe_names() if options.name is None else [options.name]
    recipes = [read_recipe(name) for name in names]
    if options.markdown:
        print(markdown(recipes))
    elif options.name is None:
        print_overview(recipes, Console())
    else:
        print_recipe(recipes[0], Console())


def print_overview(recipes: Iterable[Recipe], console: Console) -> None:
    """Print one line for each recipe."""
    table = Table(box=None, padding=(0, 2, 0, 0), collapse_padding=True)
    table.add_column("recipe", no_wrap=True)
    table.add_column("mIoU", justify="right", no_wrap=True)
    table.add_column("of", no_wrap=True)
    table.add_column("differences", justify="right", no_wrap=True)
    for recipe in recipes:
        table.add_row(
            recipe.name,
            "\n".join(f"{score.published:g}" for score in recipe.scores),
            escape("\n".join(score.key.rpartition("/")[0] for score in recipe.scores)),
            str(len(recipe.deliberate)),
        )
    console.print(table)
    console.print(
        "\nmIoU is as published, in percent; differences are those that we chose on purpose.\n"
        f"{COMMAND} NAME prints every setting with its source.",
        markup=False,
    )


def print_recipe(recipe: Recipe, console: Console) -> None:
    """Print scores, deliberate differences with reason and effect, and all settings and facts."""
    console.print(f"[bold]{escape(recipe.title)}[/] ({escape(recipe.paper)})")
    console.print(command(recipe), markup=False, soft_wrap=True)
    if recipe.note:
        console.print(recipe.note, markup=False)
    for name, repository in recipe.repositories.items():
        line = f"{name}: {repository.url} at {repository.commit[:7]}"
        console.print(line, markup=False, soft_wrap=True)
    if recipe.hardware is not None:
        console.print(f"hardware: {hardware(recipe)}", markup=False)
    scores = _table("score of results.json", "published", "tolerance", "source")
    for score in recipe.scores:
        scores.add_row(
            *map(escape, (score.key, f"{score.published:g}", f"{score.tolerance:g}", score.source))
        )
    if recipe.scores:
        console.print("\n[bold]Scores[/], mIoU in percent")
        console.print(scores)
    console.print(f"\n[bold]Deliberate differences[/] ({len(recipe.deliberate)})")
    for row in recipe.deliberate:
        name, official, ours = difference_parts(row)
        console.print(f"  [bold]{escape(name)}[/]")
        details = (
            ("official", official),
            ("ours", ours),
            ("reason", row.reason),
            ("effect", row.effect),
        )
        for label, text in details:
            console.print(f"    {label}: {text}", markup=False, highlight=False)
    console.print(f"\n[bold]Settings[/] ({len(recipe.settings)}; * differs deliberately)")
    settings = _table("key", "official", "source")
    for setting in recipe.settings:
        mark = "*" if setting.deliberate else ""
        settings.add_row(
            *map(escape, (setting.key + mark, format_value(setting.official), setting.source))
        )
    console.print(settings)
    console.print(f"\n[bold]Facts of the code[/] ({len(recipe.facts)}; * differs deliberately)")
    facts = _table("fact", "official", "source", "our test")
    for fact in recipe.facts:
        mark = "*" if fact.ours else ""
        facts.add_row(*map(escape, (fact.fact + mark, fact.official, fact.source, fact.test)))
    console.print(facts)


def markdown(recipes: Sequence[Recipe]) -> str:
    """The generated part of docs/recipes.md: an overview, then a section for each recipe."""
    lines = [
        "| recipe | published run | published mIoU | published on | differences on purpose |",
        "| --- | --- | --- | --- | --- |",
    ]
    for recipe in recipes:
        scores = "<br>".join(f"{score.published:g} `{score.key}`" for score in recipe.scores)
        cells = (
            f"[`{recipe.name}`](#{recipe.name})",
            f"{recipe.title}; {recipe.paper}",
            scores or "none",
            hardware(recipe),
            str(len(recipe.deliberate)),
        )
        lines.append(_row(cells))
    for recipe in recipes:
        lines += ["", f"### {recipe.name}", "", f"{recipe.title}: {recipe.paper}."]
        lines += ["", "```", command(recipe), "```"]
        if recipe.note:
            lines += ["", recipe.note]
        if recipe.repositories:
            cited = (
                f"{name} is <{repository.url}> at `{repository.commit[:7]}`"
                for name, repository in recipe.repositories.items()
            )
            lines += ["", f"Repositories: {', '.join(cited)}."]
        if recipe.scores:
            lines += ["", "| score | published | tolerance | source |", "| --- | --- | --- | --- |"]
            for score in recipe.scores:
                figures = (f"{score.published:g}", f"{score.tolerance:g}")
                lines.append(_row((f"`{score.key}`", *figures, score.source)))
        total = f"{len(recipe.settings)} settings and {len(recipe.facts)} facts of the code"
        lines += ["", f"Of {total}, {len(recipe.deliberate)} differ on purpose:", ""]
        for row in recipe.deliberate:
            name, official, ours = difference_parts(row)
            label = f"`{name}`" if isinstance(row, Setting) else name
            lines.append(
                f"- **{label}**: official {official}; ours {ours}. Reason: {row.reason}. "
                f"Effect: {row.effect}."
            )
    return "\n".join(lines)


def command(recipe: Recipe) -> str:
    """The command that runs a recipe."""
    root = "data.root=ROOT"
    overrides = [f"experiment={recipe.experiment}", *recipe.overrides, root]
    return f"python -m wsss_lightning {' '.join(overrides)}"


def hardware(recipe: Recipe) -> str:
    """GPUs and GPU hours of the published run."""
    if recipe.hardware is None:
        return "not published"
    hours = recipe.hardware.gpu_hours
    return recipe.hardware.gpus if hours is None else f"{recipe.hardware.gpus}, {hours:g} GPU hours"


def difference_parts(row: Setting | Fact) -> tuple[str, str, str]:
    """Name, official value and our value of a deliberate difference."""
    if isinstance(row, Fact):
        return row.fact, row.official, row.ours
    return row.key, format_value(row.official), format_value(row.ours)


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    from wsss_lightning.__main__ import main as run

    run(["recipes", *sys.argv[1:]])
