"""A local page on which a person looks at a run's pseudo masks and decides about them."""
