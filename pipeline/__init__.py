"""The data side of Hourglass: raw logs -> events -> sessions -> data sets."""
