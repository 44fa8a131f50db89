"""Progress bar of a stage."""

from typing import final

from pytorch_lightning.callbacks import RichProgressBar


@final
class StageProgress(RichProgressBar):
    """Lightning's progress bar with the name of the stage before each description.

    Args:
        stage: name of the stage.
    """

    def __init__(self, stage: str) -> None:
        super().__init__(leave=False)
        self.stage = stage

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{self.stage} {super()._get_train_description(current_epoch).lower()}"

    @property
    def validation_description(self) -> str:
        return f"{self.stage} validation"

    @property
    def predict_description(self) -> str:
        return f"{self.stage} images"
