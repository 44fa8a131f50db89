"""Print the scores of labels by round of finished runs: python rounds.py RUN... [--chart FILE]

Scores are the mean (range) over the seeds of each experiment; the chart shows the means.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

from wsss_lightning.figures.charts import line_chart, save_chart
from wsss_lightning.report.runs import find_runs


def mean_and_range(values: list[float]) -> str:
    percent = [100 * value for value in values]
    mean = sum(percent) / len(percent)
    return (
        f"{mean:.1f} ({min(percent):.1f} to {max(percent):.1f})"
        if len(percent) > 1
        else f"{mean:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--chart", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    experiments: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in find_runs(arguments.runs):
        for key, value in run.scores.items():
            if key.endswith(("/miou", "/coverage")):
                experiments[run.experiment][key].append(value)
    for name, scores in experiments.items():
        print(f"{name}, {len(next(iter(scores.values())))} seeds")
        for key, values in scores.items():
            print(f"  {key:34} {mean_and_range(values)}")
    if arguments.chart:
        lines = {}
        for name, scores in experiments.items():
            by_round = [
                (re.fullmatch(r"round_(\d+)/labels/train/miou", k), v) for k, v in scores.items()
            ]
            lines[name] = sorted((int(m[1]), sum(v) / len(v)) for m, v in by_round if m)
        drawn = {name: line for name, line in lines.items() if len(line) > 1}
        title = "mIoU of labels, train (%)"
        save_chart(line_chart(drawn, "round", title, integer_x=True), arguments.chart)


if __name__ == "__main__":
    main()
