"""Labels over rounds, of finished runs: python rounds.py RUN... [--csv FILE] [--chart FILE]

Prints mIoU as mean (range) over the seeds of each experiment; the chart shows the means.
"""

import argparse
import csv
import json
import re
from collections import defaultdict
from pathlib import Path

from wsss_lightning.callbacks.curves import line_chart


def told(values: list[float]) -> str:
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
    parser.add_argument("--csv", type=Path, help="every score of every run")
    parser.add_argument("--chart", type=Path, help="a PNG")
    words = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    rows = []
    for run in words.runs:
        results = json.loads((run / "results.json").read_text())
        name, data, seed = (results[key] for key in ("experiment", "data", "seed"))
        for key, value in results["scores"].items():
            rows.append((name, data, seed, key, round(value, 6)))
            if key.endswith(("/miou", "/coverage")):
                found[name][key].append(value)
    for name, scores in found.items():
        print(f"{name}, {len(next(iter(scores.values())))} seeds")
        for key, values in scores.items():
            print(f"  {key:34} {told(values)}")
    if words.csv:
        with words.csv.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("experiment", "data", "seed", "score", "value"))
            writer.writerows(sorted(rows))
    if words.chart:
        lines = {}
        for name, scores in found.items():
            by_round = [
                (re.fullmatch(r"round_(\d+)/labels/train/miou", k), v) for k, v in scores.items()
            ]
            lines[name] = sorted((int(m[1]), sum(v) / len(v)) for m, v in by_round if m)
        drawn = {name: line for name, line in lines.items() if len(line) > 1}
        line_chart(drawn, "mIoU of labels on train, mean over seeds").save(
            words.chart, optimize=True
        )


if __name__ == "__main__":
    main()
