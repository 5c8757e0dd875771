"""Errors of the state store. Each message says what happened and what to do next."""


class StateError(Exception):
    """The state store could not do something. Nothing was half-written when this is raised."""
