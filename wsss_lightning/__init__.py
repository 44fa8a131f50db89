"""Image tags and boxes to segmentation masks: weakly supervised segmentation on Lightning."""
