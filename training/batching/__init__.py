"""Which events make a batch, and what they are compared with."""
