"""One graph for a whole step."""
