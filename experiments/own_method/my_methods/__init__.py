"""Methods of your own."""
