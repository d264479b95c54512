"""Adapters: base classes of the models of all frameworks, one for each thing that models do.

A framework's class has the fields of its base, and Pydantic copies them: a module has no more than
one program needs.
"""
