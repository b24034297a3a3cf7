"""What moves lists away from a model's best items, what it costs, and what was drawn."""
