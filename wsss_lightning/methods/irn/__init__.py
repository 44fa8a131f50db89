"""IRN: affinities from class boundaries (Ahn et al. 2019)."""
