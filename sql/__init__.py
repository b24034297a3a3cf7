"""The SQL of every transform, one statement a file; ``reports`` is for people."""
