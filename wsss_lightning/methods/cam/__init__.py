"""Class activation maps of a multi-label classifier."""
