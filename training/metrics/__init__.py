"""Ranks, metrics over all items, and their confidence intervals."""
