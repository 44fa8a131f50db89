"""SC-CAM: classification of sub-categories found by clustering (Chang et al. 2020)."""
