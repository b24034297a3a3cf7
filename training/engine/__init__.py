"""What trains every gradient-trained system: plans of batches, the loop, checkpoints, scaling."""
