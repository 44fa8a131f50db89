"""Learning rates of parts, as tests give them to modules whose training they do not test."""

RATES = {"head_lr_multiplier": 1, "bias_lr_multiplier": 2, "decay_biases": False, "poly_power": 0.9}
