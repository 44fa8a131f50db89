"""Segmentation networks trained on masks."""
