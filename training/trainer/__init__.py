"""The training loop, for whatever learns: steps, schedules, checkpoints, processes."""
