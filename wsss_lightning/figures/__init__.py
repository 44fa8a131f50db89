"""Image grids, overlays and charts."""
