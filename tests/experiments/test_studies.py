"""What the studies in `experiments/` ask can be run."""

from pathlib import Path

import pytest
from checked import check
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from wsss_lightning.config.folder import conf_folder

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
pytestmark = pytest.mark.skipif(not EXPERIMENTS.is_dir(), reason="experiments/ is not in the sdist")


def is_study(path: Path) -> bool:
    return "sweeper" in path.read_text() and "optuna" not in path.read_text()


STUDIES = [path for path in sorted(EXPERIMENTS.rglob("*.yaml")) if is_study(path)]


def composed(path: Path, *words: str) -> DictConfig:
    """A study's configuration, Hydra's part with it."""
    own = [f"hydra.searchpath=[file://{conf_folder()}]", "hydra.mode=RUN", "data.root=anywhere"]
    with initialize_config_dir(str(path.parent), version_base="1.3"):
        return compose(path.stem, overrides=[*own, *words], return_hydra_config=True)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_job_of_a_study_composes_and_fits_what_it_builds(path):
    asked = composed(path).hydra.sweeper.params
    # options of a group one after the other, the others at their first; seeds are all alike
    options = {key: [v.strip() for v in str(value).split(",")] for key, value in asked.items()}
    options["seed"] = options["seed"][:1]
    first = {key: values[0] for key, values in options.items()}
    for key, values in options.items():
        for value in values:
            cfg = composed(path, *(f"{k}={v}" for k, v in {**first, key: value}.items()))
            check(OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"]))
