"""Errors of the state store. Each message says what happened and what to do next."""


class StateError(Exception):
    """An error of the state store. Nothing is half-written when it is raised."""


class LedgerError(StateError):
    """The ledger was asked for a transition that it does not allow. Nothing was changed."""
