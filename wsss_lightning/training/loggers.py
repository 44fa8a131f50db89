"""W&B's logger, where a training may have several processes."""

from typing import Any, final

from pytorch_lightning.loggers import WandbLogger


@final
class WandbTrainingLogger(WandbLogger):
    """Starts a W&B run in the process that trains, and nowhere else.

    Lightning's own starts it where processes are started from, and has one of them attach to it.
    When that one has finished the run, the other waits for ever for its next.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_experiment": None}
