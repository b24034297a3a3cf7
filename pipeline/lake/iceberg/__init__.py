"""How PyIceberg reads and writes the lists of a table's files, where its own way grows with them."""
