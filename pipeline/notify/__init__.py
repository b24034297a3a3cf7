"""Telling people what an hour needs of them: one short message, sent once."""
