"""Lists, tags, boxes and masks of a dataset, in the formats of common tools."""
