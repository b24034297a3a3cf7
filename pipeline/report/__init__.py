"""The HTML report about the data, and its place for sections of others."""
