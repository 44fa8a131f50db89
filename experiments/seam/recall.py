"""Print the recall of object pixels at equal precision of finished runs: recall.py RUN..."""

import argparse
import csv
import json
from pathlib import Path

from wsss_lightning.results.schema import read_results

PRECISIONS = (0.4, 0.5, 0.6, 0.7)
CHANGES = ("method.", "refine.", "backbone.output_stride", "fit.")


def recall_at(precision: float, curve: dict[str, list[float]]) -> float:
    """The highest recall at any threshold with at least this precision."""
    points = zip(curve["precision"], curve["recall"], strict=True)
    return max((r for p, r in points if p >= precision), default=0.0)


def write(runs: list[Path], path: Path) -> None:
    """Write one row per score of each run, with the overrides that distinguish the run."""
    rows = [("experiment", "data", "seed", "changed", "score", "value")]
    for run in runs:
        results = read_results(run / "results.json")
        changes = sorted(override for override in results.overrides if override.startswith(CHANGES))
        head = (results.experiment, results.data, results.seed, " ".join(changes))
        rows += [(*head, key, f"{value:.5f}") for key, value in results.scores.items()]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--csv", type=Path, help="write every score of every run to this file")
    arguments = parser.parse_args()
    if arguments.csv:
        write(arguments.runs, arguments.csv)
    shown = " ".join(f"recall at {p:.0%}" for p in PRECISIONS)
    print(f"{'experiment':12} seed  fixed  held-out  oracle  {shown}")
    for run in arguments.runs:
        results = read_results(run / "results.json")
        curve = json.loads((run / "seeds_miou" / arguments.split / "curve.json").read_text())
        key = f"seeds/{arguments.split}/miou"
        miou = [results.scores[key + end] for end in ("", "_held_out", "_oracle")]
        recalls = [recall_at(p, curve) for p in PRECISIONS]
        fixed, held_out, oracle = (f"{100 * v:.1f}" for v in miou)
        figures = " ".join(f"{100 * v:13.1f}" for v in recalls)
        lead = f"{results.experiment:12} {results.seed:4}"
        print(f"{lead} {fixed:>6} {held_out:>9} {oracle:>7}  {figures}")


if __name__ == "__main__":
    main()
