"""What did not come from this lake's own steps becomes part of it: copies, foreign commits."""
