"""Trained networks in formats of other programs, verified against PyTorch."""
