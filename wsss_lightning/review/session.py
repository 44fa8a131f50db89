"""The decisions of a review while the page is open."""

import copy
import threading
from dataclasses import asdict
from typing import Any, final

from wsss_lightning.data.review.decisions import Decision, now
from wsss_lightning.data.review.log import DecisionLog
from wsss_lightning.data.review.state import ImageState
from wsss_lightning.data.sources.masks import BACKGROUND
from wsss_lightning.errors import did_you_mean
from wsss_lightning.review.ranking import next_to_review
from wsss_lightning.review.run import ReviewedRun


@final
class Session:
    """State of all images, kept in step with the file of decisions.

    Args:
        run: the run under review.
        log: its file of decisions, which others may extend as well.
    """

    def __init__(self, run: ReviewedRun, log: DecisionLog) -> None:
        self.run, self.log = run, log
        self._index = {name: i for i, name in enumerate(run.names)}
        self._lock = threading.Lock()
        self._states: dict[str, ImageState] = {}
        self._seen: list[Decision] = []
        self._edits = 0  # how often the file was changed other than by appending

    def changes(self, since: str = "") -> dict[str, Any]:
        """States of the images that have changed since a revision, by index.

        Args:
            since: revision of an earlier answer; empty or unknown: all images with decisions.
        """
        with self._lock:
            self._follow(self.log.read())
            edits, _, count = since.partition(".")
            known = edits == str(self._edits) and count.isdigit() and int(count) <= len(self._seen)
            names = (
                dict.fromkeys(one.name for one in self._seen[int(count) :])
                if known
                else list(self._states)
            )
            return {
                "revision": f"{self._edits}.{len(self._seen)}",
                "complete": not known,
                "images": {
                    self._index[name]: self._shown(name) for name in names if name in self._index
                },
            }

    def decide(
        self, image: int, class_name: str, kind: str, detail: dict[str, Any], since: str = ""
    ) -> dict[str, Any]:
        """Store a decision; return `changes` when it is on disk.

        Args:
            image: index of the image.
            class_name: a class, `background`, or empty.
            kind: a kind of decision.
            detail: what belongs to the kind.
            since: as in `changes`.

        Raises:
            ValueError: there is no such image or class, or the parts do not fit together.
            OSError: the file cannot be written.
        """
        if not 0 <= image < len(self.run.names):
            raise ValueError(f"there is no image {image}")
        if class_name and class_name not in (BACKGROUND, *self.run.classes):
            hint = did_you_mean(class_name, self.run.classes)
            raise ValueError(f"there is no class {class_name}; {hint}")
        if kind == "tag" and not self.run.can_retag:
            raise ValueError("tags of this run cannot be changed")
        decision = Decision(self.run.names[image], class_name, kind, detail, now())
        decision.parsed  # noqa: B018 (raises what is wrong)
        height, width = self.run.dataset.image_size(image)
        if detail.get("size", [width, height]) != [width, height]:
            raise ValueError(f"size is {detail['size']}, but the image has {width}x{height} pixels")
        self.log.append(decision)
        return self.changes(since)

    def decided(self, image: int) -> bytes:
        """Mask of an image after the decisions about it, PNG."""
        with self._lock:
            self._follow(self.log.read())
            state = copy.deepcopy(self._states.get(self.run.names[image], ImageState()))
        return self.run.decided(image, state)

    def proposals(self, count: int) -> list[int]:
        """Indices of the images that are worth a person's time next."""
        with self._lock:
            self._follow(self.log.read())
            reviewed = {
                self._index[name]
                for name, state in self._states.items()
                if state.is_reviewed and name in self._index
            }
        return next_to_review(
            self.run.order, self.run.class_quality, reviewed, self.run.is_duplicate, count
        )

    def _follow(self, decisions: list[Decision]) -> None:
        """Take decisions into account that came since the last call."""
        count = len(self._seen)
        if decisions[:count] != self._seen:
            self._states, count = {}, 0
            self._edits += 1
        for decision in decisions[count:]:
            self._states.setdefault(decision.name, ImageState()).add(decision)
        self._seen = decisions

    def _shown(self, name: str) -> dict[str, Any]:
        state = self._states[name]
        shapes = [{"id": key, **asdict(shape)} for key, shape in state.shapes.items()]
        return {"verdicts": state.verdicts, "tags": state.tags, "shapes": shapes}
