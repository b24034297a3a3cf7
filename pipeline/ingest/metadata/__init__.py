"""Files beside the logs: what items and users are."""
