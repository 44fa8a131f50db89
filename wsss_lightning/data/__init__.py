"""Datasets, transforms and files of scores and masks."""
