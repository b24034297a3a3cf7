"""Baselines that predict values."""
