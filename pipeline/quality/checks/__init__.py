"""Suites of expectations: how they are read, run and written up."""
