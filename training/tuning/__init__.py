"""Parameters that are chosen on the latest part of what a model may learn from."""
