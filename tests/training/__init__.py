"""Training of the adapter with which the built-in model answers: `python -m tests.training`."""
