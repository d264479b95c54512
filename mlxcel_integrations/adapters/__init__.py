"""Adapters: base classes of the models of all frameworks, one for each thing that models do.

Each has a module of its own, so that a program imports only those that it needs: Pydantic takes
time to copy the fields of a base to the class of a framework.
"""
