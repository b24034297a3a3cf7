"""A process that stays: libraries are imported once, and each command is a fork of it."""
