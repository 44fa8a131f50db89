"""Learning rates of parts, as tests give them to modules whose training they do not test."""

RATES = {"head_factor": 1, "bias_lr_multiplier": 2, "decay_biases": False, "power": 0.9}
