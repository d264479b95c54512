"""Tools in requests, and calls of them in answers."""
