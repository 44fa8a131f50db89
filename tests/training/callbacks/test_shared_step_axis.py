import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger

from wsss_lightning.training.callbacks.shared_step_axis import SharedStepAxis


class _Run:
    """Records the axes that are defined."""

    def __init__(self):
        self.axes = {}

    def define_metric(self, name, step_metric=None, step_sync=None):
        self.axes[name] = step_metric


class _Logger(CSVLogger):
    def __init__(self, folder):
        super().__init__(folder)
        self.run = _Run()

    @property
    def experiment(self):
        return self.run


def set_up(logger):
    trainer = pl.Trainer(logger=logger, accelerator="cpu", enable_checkpointing=False)
    SharedStepAxis().setup(trainer, pl.LightningModule(), "fit")


def test_metrics_of_training_and_validation_share_the_axis_of_steps(tmp_path):
    logger = _Logger(tmp_path)
    set_up(logger)
    step = "trainer/global_step"
    assert logger.run.axes == {step: None, "train/*": step, "val/*": step}


def test_loggers_without_axes_are_left_unchanged(tmp_path):
    set_up(CSVLogger(tmp_path))
    set_up(False)
