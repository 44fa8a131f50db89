"""Tensor operations that several methods share: pure functions."""
