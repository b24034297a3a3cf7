"""Tables of learned vectors: of items, new ones among them, and of users."""
