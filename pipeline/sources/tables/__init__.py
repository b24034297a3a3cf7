"""Logs of columns instead of lines: Parquet, ORC and Avro."""
