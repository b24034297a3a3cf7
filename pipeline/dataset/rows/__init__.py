"""Which rows a data set holds, in codes: by Spark, or as arrays."""
