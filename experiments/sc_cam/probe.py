"""Do features separate the true sub-categories? python probe.py RUN [ROUND]

RUN is a finished run of `experiment=sc_cam` on generated data, ROUND 1 by default. The script
prints for each class the agreement (ARI) of k-means clusters with the true sub-categories, the
5-fold accuracy of a logistic regression from features to sub-categories (the probe), and the share
of the most common sub-category.
"""

import argparse
from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wsss_lightning.methods.sc_cam.files import FEATURES, load_features, read_subcategories

SEEDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("round", type=int, nargs="?", default=1)
    args = parser.parse_args()
    data = OmegaConf.load(args.run / "hydra" / "config.yaml").data
    data.dataset.root = data.root = str(instantiate(data.generate))
    dataset = instantiate(data.dataset)(split=data.train).view(with_masks=False)
    subcategories = read_subcategories(
        dataset.root / data.subcategories, dataset.names, dataset.classes
    )
    features = load_features(args.run / f"round_{args.round}" / "features" / FEATURES)
    print(f"{'class':8} images  ARI of k-means  probe  most common")
    rows = []
    for c, name in enumerate(dataset.classes):
        # an image may show two sub-categories of a class; those have no single label
        present = np.flatnonzero(dataset.tags[:, c].bool().numpy() & (subcategories[:, c] >= 0))
        own, truth = (
            features.of_class(c, [dataset.names[i] for i in present]),
            subcategories[present, c],
        )
        count = len(np.unique(truth))
        clusters = [KMeans(count, n_init=10, random_state=s).fit_predict(own) for s in range(SEEDS)]
        agreement = np.mean([adjusted_rand_score(truth, labels) for labels in clusters])
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        accuracy = cross_val_score(probe, own, truth, cv=5).mean()
        rows.append((agreement, accuracy, np.bincount(truth).max() / len(truth)))
        print(
            f"{name:8} {len(present):6} {rows[-1][0]:15.2f} {rows[-1][1]:6.2f} {rows[-1][2]:12.2f}"
        )
    print(f"{'mean':8} {'':6} " + "{:15.2f} {:6.2f} {:12.2f}".format(*np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
