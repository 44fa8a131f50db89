"""Generated images with masks, tags and boxes in Pascal VOC layout."""
