"""Upkeep of the lake: small files together, old snapshots and unused files removed."""
