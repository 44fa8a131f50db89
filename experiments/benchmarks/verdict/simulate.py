"""Estimate how often the report names a false winner, and how often it finds a true one.

Two methods of equal or different quality are simulated. Images differ in difficulty, which is the
same for both methods, and every run has a random offset, overall and for each image.

    python experiments/benchmarks/verdict/simulate.py
"""

import argparse

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats

from wsss_lightning.report.verdict import compare, dataset_miou, draw_weights, resampled_miou

LABELS, PIXELS = 4, 2000


def runs(rng, skill, count, images, luck):
    """Confusion matrices (s n k k) of runs of one method."""
    truth = images["truth"]
    counts = np.zeros((count, len(truth), LABELS, LABELS), np.int64)
    for s in range(count):
        own = skill + luck * rng.standard_normal() + 0.5 * rng.standard_normal(len(truth))
        right = 1 / (1 + np.exp(-(own[:, None] + images["ease"])))
        hits = rng.binomial(truth, right)
        counts[s, :, range(LABELS), range(LABELS)] = hits.T
        # missed pixels become background, and wrong background pixels the first class
        counts[s, :, 1:, 0] += (truth - hits)[:, 1:]
        counts[s, :, 0, 1] += (truth - hits)[:, 0]
    return counts


def experiment(rng, gap, seeds, num_images, luck, weights):
    share = rng.dirichlet([4, 1, 1, 1], num_images)
    images = {
        "truth": np.stack([rng.multinomial(PIXELS, p) for p in share]),
        "ease": rng.standard_normal((num_images, LABELS)),
    }
    sides = [runs(rng, skill, seeds, images, luck) for skill in (1.0 + gap, 1.0)]
    values = [dataset_miou(side.sum(1).astype(float)).tolist() for side in sides]
    draws = tuple(np.stack([resampled_miou(weights, run) for run in side]) for side in sides)
    return values, draws


def judge(values, draws):
    """Whether each test names a winner: ours, images alone (seeds pooled), a t-test over seeds."""
    ours = compare(*values, draws, paired=False).decided
    difference = draws[0].mean(0) - draws[1].mean(0)
    low, high = np.quantile(difference, [0.025, 0.975])
    seeds = stats.ttest_ind(*values, equal_var=True).pvalue < 0.05 if len(values[0]) > 1 else False
    return ours, not low <= 0 <= high, bool(seeds)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument(
        "--luck", type=float, default=0.1, help="standard deviation of runs, in logits"
    )
    arguments = parser.parse_args()
    table = Table("seeds", "true gap", "mIoU gap", "verdict", "images alone", "seeds alone")
    for gap in (0.0, 0.3):
        for seeds in (2, 3, 5, 10):
            rng = np.random.default_rng(seeds)
            weights = draw_weights(arguments.images, 300)
            named, gaps = np.zeros(3), []
            for _ in track(range(arguments.trials), f"gap {gap}, {seeds} seeds", transient=True):
                values, draws = experiment(
                    rng, gap, seeds, arguments.images, arguments.luck, weights
                )
                named += judge(values, draws)
                gaps.append(np.mean(values[0]) - np.mean(values[1]))
            rates = (f"{100 * rate:.1f} %" for rate in named / arguments.trials)
            table.add_row(str(seeds), str(gap), f"{100 * np.mean(gaps):.1f}", *rates)
    Console(width=90).print(table)


if __name__ == "__main__":
    main()
