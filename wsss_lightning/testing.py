"""The contract of methods, as checks that any test suite can call.

    from wsss_lightning.testing import check_method

    def test_my_method_keeps_the_contract():
        check_method(lambda: MyMethod(net, num_classes=2, ...))

Every rule that the pipelines rely on is checked on a few small, generated images, within seconds on
a CPU. A module that breaks a rule raises an `AssertionError` that names the module and the rule.

Letters: b images, c classes, k = c + 1 labels with background first, h w a map, H W an image.
"""

import io
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from wsss_lightning.methods.affinity_base import AffinityModule
from wsss_lightning.methods.base import TagMethod, make_optimizer
from wsss_lightning.methods.cam_predictor import CamPredictor
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.methods.random_walk import RandomWalkSettings
from wsss_lightning.methods.segmentation.module import Segmenter
from wsss_lightning.methods.segmentation.predictor import TestSettings, marginals
from wsss_lightning.ops.masks import IGNORE

Build = Callable[[], Any] | Mapping[str, Any]

SIDE = 65  # stride * n + 1 for strides of 8, 16 and 32
COLOURS = torch.tensor(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]], dtype=torch.float
)


def check_method(build: Build, steps: int = 25, seed: int = 0) -> None:
    """Check that a module keeps the contract of methods.

    All modules train with their own optimiser for a few steps on one batch. The loss of every step
    is finite, the loss falls, and the same seed gives the same weights. A `state_dict` restores the
    module. Images of a batch do not influence each other. In addition:

    - a `TagMethod` learns to distinguish plain colours; its logits are (b, c) and its maps
      (b, c, h, w); its scores lie in [0, 1) and are zero for classes without a tag;
    - a `Segmenter` predicts probabilities that sum to 1 at the size of the image, and ignored
      pixels have no loss;
    - an `AffinityModule` gives affinities in [0, 1] that are lower across an edge than within a
      region, and refined scores for the background and every class of an image.

    Args:
        build: returns a new module at each call; or a configuration node with a `_target_`, which
            Hydra instantiates.
        steps: number of steps of the training. The optimiser must lower the loss within them;
            networks without pretrained weights need a high learning rate.
        seed: seed of the initial weights and of the training.

    Raises:
        AssertionError: a rule is broken; the message names the module and the rule.
        TypeError: the module is none of the three kinds.
    """
    # a method may draw random numbers; those of the caller stay as they are
    with torch.random.fork_rng(devices=[]):
        module = _built(build, seed)
        name = type(module).__name__
        kinds: dict[Any, type[_Rules]] = {
            TagMethod: _TagRules,
            Segmenter: _MaskRules,
            AffinityModule: _PairRules,
        }
        rules = next((rules for kind, rules in kinds.items() if isinstance(module, kind)), None)
        if rules is None:
            known = ", ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"{name} is not a method; derive it from one of {known}.")
        rules(build, name, steps, seed).check()


def _built(build: Build, seed: int) -> Any:
    torch.manual_seed(seed)
    if isinstance(build, Mapping):
        from hydra.utils import instantiate

        return instantiate(build)
    return build()


class _Rules:
    """Rules of all kinds; a subclass adds a batch, predictions and further rules."""

    share = 1.0  # share of the first loss that the training must reach

    def __init__(self, build: Build, name: str, steps: int, seed: int) -> None:
        self.build, self.name, self.steps, self.seed = build, name, steps, seed

    def require(self, holds: bool, rule: str, details: object = "") -> None:
        if not holds:
            raise AssertionError(f"{self.name} breaks a rule of methods: {rule}. {details}".strip())

    def batch(self, module: Any) -> dict[str, Any]:
        """Images that the module can learn from within a few steps."""
        raise NotImplementedError

    def predicted(self, module: Any, image: Tensor) -> list[Tensor]:
        """Predictions of the module for each image."""
        raise NotImplementedError

    def check_own(self, module: Any, batch: dict[str, Any]) -> None:
        """Check the rules of this kind on a trained module in evaluation mode."""
        raise NotImplementedError

    def check(self) -> None:
        untrained = _built(self.build, self.seed).eval()
        self.check_optimizer(untrained)
        with torch.no_grad():
            batch = self.batch(untrained)
        module, losses = self.trained(batch)
        finite = bool(torch.tensor(losses).isfinite().all())
        self.require(finite, "the loss of every step is finite", losses)
        tail = losses[-max(1, self.steps // 5) :]
        falls = sum(tail) / len(tail) < self.share * losses[0]
        rule = f"the loss falls below {self.share} of the first within {self.steps} steps"
        self.require(falls, rule, losses)
        first, second = (self.trained(batch, steps=2)[0].state_dict() for _ in range(2))
        self.require(_equal_states(first, second), "the same seed gives the same weights")
        with torch.no_grad():
            predictions = self.predicted(module.eval(), batch["image"])
        finite = all(bool(one.isfinite().all()) for one in predictions)
        self.require(finite, "predictions are finite")
        with torch.no_grad():
            self.check_state(module, batch["image"])
            self.check_images_are_independent(module, batch["image"])
        self.check_own(module, batch)

    def check_optimizer(self, module: Any) -> None:
        optimizer = make_optimizer(module)
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        learns = {id(p) for p in module.net.parameters() if p.requires_grad}
        self.require(held == learns, "the optimiser holds exactly the trainable parameters")

    def trained(self, batch: dict[str, Any], steps: int | None = None) -> tuple[Any, list[float]]:
        module = _built(self.build, self.seed)
        record = _Losses()
        trainer = pl.Trainer(
            max_epochs=steps or self.steps,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[record],
        )
        loader: Any = DataLoader([batch], batch_size=None)  # type: ignore[arg-type]  # a list is enough
        trainer.fit(module, loader)
        logged = trainer.callback_metrics.get("train/loss")
        self.require(logged is not None, "training_step logs train/loss")
        same = logged is not None and abs(float(logged) - record.losses[-1]) < 1e-4
        self.require(same, "train/loss is the loss that training_step returns")
        return module, record.losses

    def check_state(self, module: Any, image: Tensor) -> None:
        stored = io.BytesIO()
        torch.save(module.state_dict(), stored)
        stored.seek(0)
        restored = _built(self.build, self.seed + 1)
        restored.load_state_dict(torch.load(stored, weights_only=True))
        before, after = (self.predicted(one, image) for one in (module, restored.eval()))
        same = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        self.require(same, "its state_dict holds all that its predictions depend on")

    def check_images_are_independent(self, module: Any, image: Tensor) -> None:
        together = self.predicted(module, image)
        for i, expected in enumerate(together):
            (alone,) = self.predicted(module, image[i : i + 1])
            close = torch.allclose(alone, expected, atol=1e-4, rtol=1e-3)
            self.require(close, "an image has the same prediction alone and in a batch")


class _TagRules(_Rules):
    def batch(self, module: Any) -> dict[str, Any]:
        image = _plain(COLOURS)
        logits = module(image)
        shaped = logits.dim() == 2 and len(logits) == len(image)
        self.require(shaped, "forward returns logits (b, c)", tuple(logits.shape))
        # where sub-categories are learnt, every class is shown by two colours
        variants = 2 if module.needs_sub_tags else 1
        num_classes = logits.shape[1]
        shown = torch.arange(min(variants * num_classes, len(COLOURS)))
        tags = F.one_hot(shown // variants, num_classes).float()
        names = [f"x{i}" for i in range(len(shown))]
        batch = {"image": image[: len(shown)], "tags": tags, "name": names}
        if module.needs_sub_tags:
            per_class = module.sub_cam(image).shape[1] // num_classes
            sub = shown // variants * per_class + shown % variants
            batch["sub_tags"] = F.one_hot(sub, num_classes * per_class).float()
        return batch

    def predicted(self, module: Any, image: Tensor) -> list[Tensor]:
        logits = module(image)
        scores = CamPredictor(module, CamSettings()).score(image, torch.ones_like(logits))
        return list(torch.cat([logits, scores.flatten(1)], 1))

    def check_own(self, module: Any, batch: dict[str, Any]) -> None:
        image, tags = batch["image"], batch["tags"]
        with torch.no_grad():
            recognised = torch.equal(module(image).argmax(1), tags.argmax(1))
            maps = module.cam(image)
        self.require(recognised, f"{self.steps} steps suffice to distinguish plain colours")
        shaped = maps.dim() == 4 and maps.shape[:2] == tags.shape
        self.require(shaped, "cam returns maps (b, c, h, w)", tuple(maps.shape))
        if module.needs_sub_tags:
            with torch.no_grad():
                sub = module.sub_cam(image).mean((-2, -1)).argmax(1)
            recognised = torch.equal(sub, batch["sub_tags"].argmax(1))
            self.require(recognised, f"{self.steps} steps suffice to distinguish sub-categories")
        self.check_scores(module, tags)
        self.check_images_without_tags(batch)

    def check_scores(self, module: Any, tags: Tensor) -> None:
        image = torch.rand(len(tags), 3, 50, 70)
        cams = CamPredictor(module, CamSettings(scales=(0.5, 1.0), flip=True))
        with torch.no_grad():
            score = cams.score(image, tags)
            none = cams.score(image, torch.zeros_like(tags))
            mirrored = cams.score(image.flip(-1), tags).flip(-1)
        self.require(score.shape == (*tags.shape, 50, 70), "scores have the size of the image")
        lies = bool(score.min() >= 0) and bool(score.max() < 1)
        self.require(lies, "scores lie in [0, 1)", (score.min().item(), score.max().item()))
        self.require(bool(score.any()), "a tagged class has scores")
        zero = not score[tags == 0].any() and not none.any()
        self.require(zero, "scores are zero for a class without a tag")
        close = torch.allclose(mirrored, score, atol=1e-4, rtol=1e-3)
        self.require(close, "the mirrored image has the mirrored scores")

    def check_images_without_tags(self, batch: dict[str, Any]) -> None:
        untagged = {
            key: torch.zeros_like(value) if key.endswith("tags") else value
            for key, value in batch.items()
        }
        _, losses = self.trained(untagged, steps=1)
        finite = bool(torch.tensor(losses).isfinite().all())
        self.require(finite, "the loss is finite for images without tags")


class _MaskRules(_Rules):
    share = 0.5

    def batch(self, module: Any) -> dict[str, Any]:
        labels = min(module(_plain(COLOURS[:1])).shape[1], len(COLOURS))
        # stripes of a colour for each label, one way and the other
        stripes = (torch.arange(SIDE) * labels // SIDE).expand(SIDE, SIDE)
        mask = torch.stack([stripes, stripes.T.flip(0)])
        image = COLOURS[mask].movedim(-1, 1).contiguous()
        return {"image": image, "mask": mask.contiguous(), "name": ["x0", "x1"]}

    def predicted(self, module: Any, image: Tensor) -> list[Tensor]:
        return list(marginals(module, image, TestSettings()))

    def check_own(self, module: Any, batch: dict[str, Any]) -> None:
        with torch.no_grad():
            labels = module(batch["image"]).shape[1]
            marginal = marginals(module, torch.rand(2, 3, 37, 50), TestSettings())
        shaped = marginal.shape == (2, labels, 37, 50)
        self.require(shaped, "marginals have the size of the image", tuple(marginal.shape))
        probable = bool(marginal.min() >= 0)
        probable = probable and torch.allclose(marginal.sum(1), torch.ones(()), atol=1e-5)
        self.require(probable, "marginals are probabilities that sum to 1")
        ignored = {**batch, "mask": torch.full_like(batch["mask"], IGNORE)}
        _, losses = self.trained(ignored, steps=1)
        self.require(losses == [0.0], "ignored pixels have no loss", losses)


class _PairRules(_Rules):
    walk = RandomWalkSettings(
        radius=3, border="padded", beta=2, steps=4, background_power=4.0, background_score=None
    )

    def batch(self, module: Any) -> dict[str, Any]:
        image = torch.full((2, 3, 64, 64), 0.1)
        mask = torch.zeros(2, 64, 64, dtype=torch.long)
        image[0, ..., 32:], mask[0, :, 32:] = 0.9, 1
        image[1, ..., 32:], mask[1, :, 32:] = 0.9, 1
        sure = torch.stack([mask == 0, mask == 1], 1).float()
        # the marginals under much and under little background agree
        score = list(torch.cat([sure, sure], 1))
        return {"image": image, "mask": mask, "score": score, "name": ["x0", "x1"]}

    def predicted(self, module: Any, image: Tensor) -> list[Tensor]:
        height, width = image.shape[-2:]
        ramp = torch.linspace(0, 1, width).expand(1, height, width)
        return list(module.propagate_scores(image, [ramp] * len(image), self.walk))

    def check_own(self, module: Any, batch: dict[str, Any]) -> None:
        image = torch.rand(2, 3, 37, 50)
        scores = [torch.rand(1, 37, 50), torch.rand(3, 37, 50)]
        with torch.no_grad():
            affinity = module.affinities(batch["image"], 3, "padded")
            refined = module.propagate_scores(image, scores, self.walk)
        offsets = module.offsets(3)
        shaped = affinity.shape[:2] == (2, len(offsets))
        self.require(shaped, "affinities are (b, n, h, w), one of n for every offset")
        lies = bool(affinity.min() >= 0) and bool(affinity.max() <= 1)
        self.require(lies, "affinities lie in [0, 1]")
        right = affinity[:, offsets.index((0, 1))]
        middle = right.shape[-1] // 2
        across, within = right[..., middle - 1].mean(), right[..., [1, -3]].mean()
        details = f"{across:.3f} across, {within:.3f} within"
        self.require(bool(within > across + 0.3), "affinities are lower across an edge", details)
        shapes = [tuple(maps.shape) for maps in refined]
        expected = [(1 + len(maps), 37, 50) for maps in scores]
        self.require(shapes == expected, "background and classes are refined", shapes)
        finite = all(bool(maps.isfinite().all()) and bool(maps.min() >= 0) for maps in refined)
        self.require(finite, "refined scores are finite and not negative")


class _Losses(pl.Callback):
    """The loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self.losses.append(float(outputs["loss"]))


def _plain(colours: Tensor) -> Tensor:
    """Images of one colour each."""
    return colours[:, :, None, None].expand(-1, -1, SIDE, SIDE).contiguous()


def _equal_states(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(v, second[k]) for k, v in first.items()
    )
