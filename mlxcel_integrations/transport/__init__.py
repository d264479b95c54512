"""Transport: what waits for a server, over httpx."""
