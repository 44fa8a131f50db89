"""Files that describe a data set: lists, tags, boxes and masks, as tools and people write them."""
