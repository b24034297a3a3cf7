"""The steps of the hour, and the loop and the demo that run them."""
