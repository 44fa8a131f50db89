"""Decisions of a person about images, their tags and their pseudo masks."""
