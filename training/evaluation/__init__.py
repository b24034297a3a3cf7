"""Models are measured on test sets that were frozen before them."""
