"""Whole experiments, one function each."""

from wsss_lightning.pipelines.base import learns_from, supervision_of

__all__ = ["learns_from", "supervision_of"]
