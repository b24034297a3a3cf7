"""Who runs the SQL of the transforms: Spark, or this process itself where there is little."""
