"""Fully connected CRF: mean field with a Gaussian and a bilateral kernel, and its engines."""
