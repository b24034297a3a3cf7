"""Search logs: queries are the users, and what is asked is one list of products for each query."""
