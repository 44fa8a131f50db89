"""Commands: run, check_data, import_coco and import_weights."""
