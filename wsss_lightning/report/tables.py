"""The score table as Markdown and LaTeX, and every score as CSV."""

import re
from collections.abc import Sequence

from wsss_lightning.report.comparison import Comparison
from wsss_lightning.report.methods import in_order
from wsss_lightning.report.verdict import Estimate
from wsss_lightning.steps.labels import step_label

# further scores of seeds: split, metric, and the rule that the heading names
THRESHOLDS = (
    ("train", "miou_held_out", "held-out threshold"),
    ("train", "miou_oracle", "oracle threshold"),
    ("val", "miou", "fixed threshold"),
    ("val", "miou_oracle", "oracle threshold"),
)
NETWORK = ("segmentation", "segmentation_crf")


class Column:
    """A column of the score table: a score's key, and the parts of its heading."""

    def __init__(self, step: str, split: str, metric: str = "miou", protocol: str = "") -> None:
        self.key = f"{step}/{split}/{metric}"
        self.name, self.split, self.protocol = step_label(step), split, protocol

    @property
    def heading(self) -> str:
        """Step, split and threshold rule."""
        return ", ".join(part for part in (self.name, self.split, self.protocol) if part)


def columns(comparison: Comparison) -> list[Column]:
    """Columns with a score of at least one method; results of whole pipelines come first."""
    data = comparison.data
    splits = {"train": data.train, "val": data.val}

    def scored(column: Column) -> bool:
        return any(method.scores(column.key) for method in data.methods)

    refined = {(step, data.train) for method in data.methods for step, _ in method.steps()}
    refined -= {(step, data.train) for step in ("seeds", "pseudo", *NETWORK)}
    candidates = []
    for step in NETWORK:  # on the training split only if it was scored nowhere else
        both = [Column(step, split) for split in reversed(data.splits)]
        candidates += list(filter(scored, both))[:1]
    candidates.append(Column("pseudo", data.train))
    candidates.append(Column("seeds", data.train, "miou", "fixed threshold"))
    candidates += [Column(step, split) for step, split in in_order(refined)]
    candidates += [
        Column("seeds", split, metric, protocol)
        for name, metric, protocol in THRESHOLDS
        if (split := splits[name]) is not None
    ]
    return list(filter(scored, {column.key: column for column in candidates}.values()))


def in_percent(value: Estimate | None) -> str:
    """Mean in percent, with half the width of its interval over seeds."""
    if value is None:
        return ""
    if value.low is None:
        return f"{100 * value.mean:.1f}"
    return f"{100 * value.mean:.1f} ± {100 * (value.mean - value.low):.1f}"


def _rows(comparison: Comparison) -> list[list[str]]:
    shown = columns(comparison)
    return [
        [
            method.name,
            str(len(method.runs)),
            *(in_percent(comparison.estimate_of(method, column.key)) for column in shown),
        ]
        for method in comparison.data.methods
    ]


def markdown(comparisons: Sequence[Comparison]) -> str:
    """A section for each data set: verdicts, notes, and the score table."""
    parts = []
    for comparison in comparisons:
        heads = ["method", "seeds", *(column.heading for column in columns(comparison))]
        rule = ["---", "---:", *["---:"] * (len(heads) - 2)]
        body = [list(map(_escape_markdown, line)) for line in [heads, *_rows(comparison)]]
        lines = [body[0], rule, *body[1:]]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        ranking = comparison.ranking
        verdicts = [f"- {_escape_markdown(o.description)}" for o in ranking if o.description]
        notes = [f"- {_escape_markdown(note)}" for note in comparison.notes]
        head = f"## {_escape_markdown(comparison.data.title)}"
        lists = ["\n".join(lines) for lines in (verdicts, notes) if lines]
        parts.append("\n\n".join([head, *lists, CAPTION, table]) + "\n")
    return "\n".join(parts)


def latex(comparisons: Sequence[Comparison]) -> str:
    """Score tables for a paper (booktabs)."""
    parts = []
    for comparison in comparisons:
        shown = columns(comparison)
        heads = ["method", "seeds", *(column.heading for column in shown)]
        body = [
            " & ".join(map(_escape_latex, line)) + r" \\" for line in [heads, *_rows(comparison)]
        ]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    rf"\caption{{{_escape_latex(f'{comparison.data.title}: {CAPTION}')}}}",
                    rf"\begin{{tabular}}{{lr{'r' * len(shown)}}}",
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
    """Rows of a table of all scores of all runs; the first row holds the column names."""
    rows = [
        (comparison.data.title, method.name, run.seed, key, round(value, 6))
        for comparison in comparisons
        for method in comparison.data.methods
        for run in method.runs
        for key, value in run.scores.items()
    ]
    return [("data", "method", "seed", "score", "value"), *sorted(rows)]


CAPTION = "mIoU in percent, mean over seeds ± half the width of its 95 % interval."
SPECIAL = {"%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "±": r"$\pm$", "$": r"\$"}
SPECIAL |= {"{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "\\": r"\textbackslash{}"}
SPECIAL |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}


def _escape_markdown(text: str) -> str:
    """Text that Markdown shows unchanged, within one table cell."""
    return re.sub(r"([\\|<*`])", r"\\\1", text.replace("\n", " "))


def _escape_latex(text: str) -> str:
    return "".join(SPECIAL.get(letter, letter) for letter in text)
