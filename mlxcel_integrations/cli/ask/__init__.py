"""``mlxcel-integrations ask``: answers from the user's own files, with their sources."""
