"""A server process that is started, watched and stopped here."""
