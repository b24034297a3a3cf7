"""Events become sessions with dwell times: the kernel, its Spark job and backfills."""
