"""Replay: history rolled step by step, several arms side by side."""
