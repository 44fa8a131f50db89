"""SEAM: self-supervised equivariant attention (Wang et al. 2020)."""
