"""Our errors as Dagster failures: the message and nothing else, because it says what to do."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.intacct import IntacctError, NotReached, Throttled
from intacct_dagster.warehouse import WarehouseError

P = ParamSpec("P")
R = TypeVar("R")


def plainly(settings: Settings, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`call(*args, **kwargs)`, with our errors as failures.

    Only what certainly had no effect may be retried by the op's policy.
    """
    try:
        return call(*args, **kwargs)
    except (IntacctError, WarehouseError) as error:
        raise dg.Failure(
            in_words(error, settings), allow_retries=isinstance(error, NotReached | Throttled)
        ) from None


def in_words(error: Exception, settings: Settings) -> str:
    """What a person is told of an error, with what only the configuration knows."""
    if isinstance(error, NotReached) and settings.is_sandbox:
        return f"{error}\nThat is the sandbox's address: `intacct-dagster sandbox` starts it."
    return str(error)
