"""Weakly supervised semantic segmentation from image-level labels or boxes, on Lightning."""
