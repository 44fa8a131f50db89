"""Do features tell looks apart? k-means, and a classifier that is told: python probe.py RUN [ROUND]

RUN is a finished run of `experiment=sc_cam` on generated data, ROUND 1 by default. Of each class:
agreement (ARI) of 3 clusters with the true looks, and accuracy of a logistic regression from its
features to its looks, over 5 folds, beside that of the commonest look.
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
    told = parser.parse_args()
    data = OmegaConf.load(told.run / "hydra" / "config.yaml").data
    data.dataset.root = data.root = str(instantiate(data.generate))
    reader = instantiate(data.dataset)(split=data.train).view(with_masks=False)
    looks = read_subcategories(reader.root / data.subcategories, reader.names, reader.classes)
    found = load_features(told.run / f"round_{told.round}" / "features" / FEATURES)
    print(f"{'class':8} images  ARI of k-means  probe  commonest")
    rows = []
    for c, name in enumerate(reader.classes):
        # an image may show a class in two looks
        here = np.flatnonzero(reader.tags[:, c].bool().numpy() & (looks[:, c] >= 0))
        own, truth = found.of_class(c, [reader.names[i] for i in here]), looks[here, c]
        count = len(np.unique(truth))
        clusters = [KMeans(count, n_init=10, random_state=s).fit_predict(own) for s in range(SEEDS)]
        agreement = np.mean([adjusted_rand_score(truth, labels) for labels in clusters])
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        accuracy = cross_val_score(probe, own, truth, cv=5).mean()
        rows.append((agreement, accuracy, np.bincount(truth).max() / len(truth)))
        print(f"{name:8} {len(here):6} {rows[-1][0]:15.2f} {rows[-1][1]:6.2f} {rows[-1][2]:10.2f}")
    print(f"{'mean':8} {'':6} " + "{:15.2f} {:6.2f} {:10.2f}".format(*np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
