"""OpenLineage: events of each step with the tables and folders that it reads and writes."""
