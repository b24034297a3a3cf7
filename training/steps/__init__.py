"""The steps of the hour."""
