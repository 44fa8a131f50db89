"""Networks and their weights; networks normalise the image themselves."""
