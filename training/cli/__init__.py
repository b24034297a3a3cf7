"""The command line: options in, one step called, sentence or JSON out."""
