"""The whole hour in one go: the loop, its catching up, the demo."""
