"""Portable models, and their predictions for new images."""
