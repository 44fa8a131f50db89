"""The score table as Markdown and LaTeX, and every score as CSV."""

import re
from collections.abc import Sequence

from wsss_lightning.report.comparison import Comparison
from wsss_lightning.report.runs import rank
from wsss_lightning.report.verdict import Figure
from wsss_lightning.steps.labels import step_name

# scores of seeds behind those of whole steps: split, metric, and what the heading says of it
THRESHOLDS = (
    ("train", "miou_held_out", "held-out threshold"),
    ("train", "miou_oracle", "oracle threshold"),
    ("val", "miou", "fixed threshold"),
    ("val", "miou_oracle", "oracle threshold"),
)
NETWORK = ("segmentation", "segmentation_crf")


class Column:
    """Of the score table: a score's key, and what its heading says."""

    def __init__(self, step: str, split: str, metric: str = "miou", protocol: str = "") -> None:
        self.key = f"{step}/{split}/{metric}"
        self.name, self.split, self.protocol = step_name(step), split, protocol

    @property
    def heading(self) -> str:
        return ", ".join(part for part in (self.name, self.split, self.protocol) if part)


def columns(comparison: Comparison) -> list[Column]:
    """Those that some method has a score for, what a whole pipeline is for first."""
    data = comparison.data
    splits = {"train": data.train, "val": data.val}

    def scored(column: Column) -> bool:
        return any(method.figures(column.key) for method in data.methods)

    refined = {step for method in data.methods for step, split in method.steps()}
    refined -= {"seeds", "pseudo", *NETWORK}
    made = []
    for step in NETWORK:  # on train only where it was scored nowhere else
        both = [Column(step, split) for split in reversed(data.splits)]
        made += list(filter(scored, both))[:1]
    made.append(Column("pseudo", data.train))
    made.append(Column("seeds", data.train, "miou", "fixed threshold"))
    made += [Column(step, data.train) for step in sorted(refined, key=lambda s: (rank(s), s))]
    made += [
        Column("seeds", split, metric, protocol)
        for name, metric, protocol in THRESHOLDS
        if (split := splits[name]) is not None
    ]
    return list(filter(scored, {column.key: column for column in made}.values()))


def shown(found: Figure | None) -> str:
    """Points of mIoU with the half width of their interval over seeds."""
    if found is None:
        return ""
    if found.low is None:
        return f"{100 * found.mean:.1f}"
    return f"{100 * found.mean:.1f} ± {100 * (found.mean - found.low):.1f}"


def _rows(comparison: Comparison) -> list[list[str]]:
    wanted = columns(comparison)
    return [
        [
            method.name,
            str(len(method.runs)),
            *(shown(comparison.figure_of(method, column.key)) for column in wanted),
        ]
        for method in comparison.data.methods
    ]


def markdown(comparisons: Sequence[Comparison]) -> str:
    """A section for every data set: verdicts, and the table with its protocol in the headings."""
    parts = []
    for comparison in comparisons:
        heads = ["method", "seeds", *(column.heading for column in columns(comparison))]
        rule = ["---", "---:", *["---:"] * (len(heads) - 2)]
        body = [list(map(_marked_down, line)) for line in [heads, *_rows(comparison)]]
        lines = [body[0], rule, *body[1:]]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        verdicts = [f"- {_marked_down(one.words)}" for one in comparison.judged if one.words]
        notes = [f"- {_marked_down(note)}" for note in comparison.notes]
        head = f"## {_marked_down(comparison.data.title)}"
        said = ["\n".join(lines) for lines in (verdicts, notes) if lines]
        parts.append("\n\n".join([head, *said, CAPTION, table]) + "\n")
    return "\n".join(parts)


def latex(comparisons: Sequence[Comparison]) -> str:
    """Tables for a paper (booktabs)."""
    parts = []
    for comparison in comparisons:
        wanted = columns(comparison)
        heads = ["method", "seeds", *(column.heading for column in wanted)]
        body = [" & ".join(map(_escaped, line)) + r" \\" for line in [heads, *_rows(comparison)]]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    rf"\caption{{{_escaped(comparison.data.title)}: {_escaped(CAPTION)}}}",
                    rf"\begin{{tabular}}{{lr{'r' * len(wanted)}}}",
                    r"\toprule",
                    body[0],
                    r"\midrule",
                    *body[1:],
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                    "",
                ]
            )
        )
    return "\n".join(parts)


def every_score(comparisons: Sequence[Comparison]) -> list[tuple[object, ...]]:
    """Rows of a table of all scores of all runs, the first of them the names of the columns."""
    rows = [
        (comparison.data.title, method.name, run.seed, key, round(value, 6))
        for comparison in comparisons
        for method in comparison.data.methods
        for run in method.runs
        for key, value in run.scores.items()
    ]
    return [("data", "method", "seed", "score", "value"), *sorted(rows)]


CAPTION = "mIoU in percent; ± is half the 95 % interval of the mean over seeds."
SPECIAL = {"%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "±": r"$\pm$", "$": r"\$"}
SPECIAL |= {"{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "\\": r"\textbackslash{}"}
SPECIAL |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}


def _marked_down(text: str) -> str:
    """Text that Markdown shows as it is; it ends neither a cell nor a line."""
    return re.sub(r"([\\|<*`])", r"\\\1", text.replace("\n", " "))


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(letter, letter) for letter in text)
