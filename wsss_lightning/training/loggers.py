"""The W&B logger for trainings with several processes."""

from typing import Any, final

from pytorch_lightning.loggers import WandbLogger


@final
class WandbTrainingLogger(WandbLogger):
    """Starts a W&B run only in the process that trains.

    Lightning's logger starts it in the parent process and attaches one of the training processes to
    it. After that process has finished the run, the parent would wait forever for its next run.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_experiment": None}
