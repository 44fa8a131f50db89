from official_checkpoints import seam_file  # noqa: F401
