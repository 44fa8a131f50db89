"""Schema of the configuration, ranges of its values and allowed targets."""
