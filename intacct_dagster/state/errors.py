"""Errors of the state store. Each message says what happened and what to do next."""


class StateError(Exception):
    """The state store could not do something. Nothing was half-written when this is raised."""


class LedgerError(StateError):
    """The ledger was asked for a transition that it does not allow. Nothing was changed."""
