"""A folder of the user's own photos, with the labels as they come, as a dataset."""
