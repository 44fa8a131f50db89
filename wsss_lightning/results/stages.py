"""Folders of the stages of a finished run."""

from pathlib import Path


def stage_folder(run: Path, name: str) -> Path:
    """Folder of a stage, whether or not it exists.

    If only rounds have the stage, such as SC-CAM's seeds, the folder of the last round.

    Args:
        run: folder of the run, with links to its stages.
        name: name of the stage, such as `seeds/train`.
    """
    own = run / name
    if own.exists():
        return own
    rounds = {
        int(path.name.removeprefix("round_")): path / name
        for path in run.glob("round_*")
        if path.name.removeprefix("round_").isdigit() and (path / name).exists()
    }
    return rounds[max(rounds)] if rounds else own
