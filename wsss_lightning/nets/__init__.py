"""Networks; they normalise the image themselves."""
