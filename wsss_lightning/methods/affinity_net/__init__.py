"""AffinityNet: semantic affinities of pixels (Ahn and Kwak 2018)."""
