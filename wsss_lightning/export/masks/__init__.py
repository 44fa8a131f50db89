"""Masks to the files of labelling tools, and corrected masks back."""
