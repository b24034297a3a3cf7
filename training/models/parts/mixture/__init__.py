"""The mixture: evidence beside taste, how it is weighed, and how it enters training."""
