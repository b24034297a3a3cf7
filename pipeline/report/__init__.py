"""The HTML report of data quality and model health."""
