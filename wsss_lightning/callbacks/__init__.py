"""One thing each, at one seam of the loop."""
