"""Lists of a table's files, read and written without the costs that grow with their number."""
