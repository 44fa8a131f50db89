"""Results of a run: results.json, the score table and W&B."""
