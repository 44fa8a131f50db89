"""Whole experiments, one function each."""
