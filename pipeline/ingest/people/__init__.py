"""Which ids of the log are which persons, and the hours that a change of it concerns."""
