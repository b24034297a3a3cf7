"""What taking raw logs in costs, beside other engines."""
