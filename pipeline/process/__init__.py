"""This process among others: signals, locks, and who runs it."""
