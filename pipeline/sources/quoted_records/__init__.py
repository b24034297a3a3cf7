"""Records of delimited logs that hold line ends within quotes, and where each of them ends."""
