"""Data sets as arrays: read from shards, or cut in memory from an event log."""
