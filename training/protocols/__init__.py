"""Published evaluation protocols, from the raw files of a public log to the table of a paper."""
