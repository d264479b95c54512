"""Adapters: base classes of the models of all frameworks, one for each kind of model.

Each is in a separate module, so that a program imports only what it needs: Pydantic takes time to
copy the fields of a base class to the class of a framework.
"""
