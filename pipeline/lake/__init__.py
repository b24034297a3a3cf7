"""Iceberg tables in a folder: reading, whole commits, and the state of each hour."""
