"""What had arrived by an hour: late events, and what the lake would say without them."""
