"""Options: the fields that objects and requests have, and the names that are not among them."""
