"""Metrics as the field computes them, and error analysis."""
