"""Cache of finished steps, addressed by a digest of everything that they depend on."""
