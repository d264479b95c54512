"""Structured output: schemas, and answers as objects; pure."""
