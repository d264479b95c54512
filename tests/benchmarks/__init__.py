"""Benchmarks: what this package costs, compared with its peers and with the least possible work."""
