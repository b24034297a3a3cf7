"""Words and numbers in what people write and read; below everything else."""
