"""Recall of object pixels at equal precision, of finished runs: python recall.py RUN..."""

import argparse
import json
from pathlib import Path

PRECISIONS = (0.4, 0.5, 0.6, 0.7)


def recall_at(precision: float, curve: dict[str, list[float]]) -> float:
    """The highest recall of any threshold whose precision is at least that."""
    points = zip(curve["precision"], curve["recall"], strict=True)
    return max((r for p, r in points if p >= precision), default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--split", default="train")
    told = parser.parse_args()
    print("experiment  seed ", *(f"precision {p:.0%}" for p in PRECISIONS))
    for run in told.runs:
        results = json.loads((run / "results.json").read_text())
        curve = json.loads((run / "seeds_miou" / told.split / "curve.json").read_text())
        found = (f"{100 * recall_at(p, curve):13.1f}" for p in PRECISIONS)
        print(f"{results['experiment']:11} {results['seed']:4} ", *found)


if __name__ == "__main__":
    main()
