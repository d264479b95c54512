"""Options: the fields of objects and requests, and hints for names that are not among them."""
