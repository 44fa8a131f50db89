"""Training with Lightning: trainers, processes, checkpoints, loggers and callbacks."""
