"""Answers as they arrive: events, deltas, where an answer ends, and the whole of it."""
