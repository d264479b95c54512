"""Structured output: schemas, and answers as objects; pure, and without waiting."""
