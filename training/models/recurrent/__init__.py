"""Encoders that carry a state."""
