"""Refiners turn CAM seeds into refined label scores."""
