"""LightningModules: how each method learns."""
