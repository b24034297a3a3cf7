"""Encoders that look back by attention, memory or mixtures."""
