"""Results of finished steps, found again by a digest of what they depend on."""
