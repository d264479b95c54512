"""JSON schemas in the form that a server takes, can compile, and has tokens left to fill."""
