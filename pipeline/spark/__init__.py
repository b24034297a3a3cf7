"""Spark sessions, and what is computed in one or without."""
