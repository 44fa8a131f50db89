"""Simple Does It: segmentation from boxes (Khoreva et al. 2017)."""
