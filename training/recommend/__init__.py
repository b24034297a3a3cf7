"""Top-K lists of the live model, written whole."""
