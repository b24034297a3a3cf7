"""What people write down: one settings file, variables, paths and names, checked."""
