"""The score table as Markdown and LaTeX, and every score as CSV."""

from collections.abc import Sequence

from wsss_lightning.report.comparison import Comparison
from wsss_lightning.report.verdict import Figure

# of the score table, what a whole pipeline is for first: key, split, heading, protocol
COLUMNS = (
    ("segmentation/{}/miou", "val", "segmentation", ""),
    ("segmentation_crf/{}/miou", "val", "segmentation + CRF", ""),
    ("pseudo/{}/miou", "train", "pseudo masks", ""),
    ("seeds/{}/miou", "train", "seeds", "fixed threshold"),
    ("crf/{}/miou", "train", "CRF", ""),
    ("affinity/{}/miou", "train", "affinity", ""),
    ("affinity_crf/{}/miou", "train", "affinity + CRF", ""),
    ("irn/{}/miou", "train", "IRN", ""),
    ("irn_crf/{}/miou", "train", "IRN + CRF", ""),
    ("seeds/{}/miou_held_out", "train", "seeds", "held-out threshold"),
    ("seeds/{}/miou_oracle", "train", "seeds", "oracle threshold"),
    ("seeds/{}/miou", "val", "seeds", "fixed threshold"),
    ("seeds/{}/miou_oracle", "val", "seeds", "oracle threshold"),
)


class Column:
    """Of the score table: a score's key, and what its heading says."""

    def __init__(self, key: str, split: str, name: str, protocol: str) -> None:
        self.key, self.split, self.name, self.protocol = key, split, name, protocol

    @property
    def heading(self) -> str:
        return ", ".join(part for part in (self.name, self.split, self.protocol) if part)


def columns(comparison: Comparison) -> list[Column]:
    """Those that some method has a score for."""
    train, val = comparison.data.splits
    named = {"train": train, "val": val}
    made = [
        Column(key.format(named[split]), named[split], name, protocol)
        for key, split, name, protocol in COLUMNS
    ]
    methods = comparison.data.methods
    return [column for column in made if any(m.figures(column.key) for m in methods)]


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
        lines = [heads, ["---", "---:", *["---:"] * (len(heads) - 2)], *_rows(comparison)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        told = "\n".join(f"- {judged.words}" for judged in comparison.judged if judged.words)
        parts.append(f"## {comparison.data.name}\n\n{told}\n\n{CAPTION}\n\n{table}\n")
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
                    rf"\caption{{{_escaped(comparison.data.name)}: {_escaped(CAPTION)}}}",
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
        (comparison.data.name, method.name, run.seed, key, round(value, 6))
        for comparison in comparisons
        for method in comparison.data.methods
        for run in method.runs
        for key, value in run.scores.items()
    ]
    return [("data", "method", "seed", "score", "value"), *sorted(rows)]


CAPTION = "mIoU in percent; ± is half the 95 % interval of the mean over seeds."
SPECIAL = {"%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "±": r"$\pm$", "$": r"\$"}
SPECIAL |= {"{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "\\": r"\textbackslash{}"}


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(letter, letter) for letter in text)
