"""``mlxcel-integrations ask``: answers from files of the user, with their sources."""
