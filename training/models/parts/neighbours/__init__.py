"""Sessions alike: what they share, and what their neighbours score."""
