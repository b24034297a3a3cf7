"""Which raw files there are, when they arrived, and which of them are to be taken in."""
