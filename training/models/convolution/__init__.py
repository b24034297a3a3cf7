"""Encoders of causal convolutions."""
