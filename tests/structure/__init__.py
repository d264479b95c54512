"""The structure of the package: its imports, its figures, and the path of a request."""
