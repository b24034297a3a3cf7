"""Clean lines read many at a time, as columns; every other line is left to the line parser.

What a column reader makes of a line is what the parser of its source makes of it.  It may leave
any line to that parser, and must where it is not certain.
"""
