"""Files as columns: clean lines many at a time, the others as ever."""
