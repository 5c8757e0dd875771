"""Our errors as Dagster failures: the message and nothing else, because it says what to do."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import dagster as dg

from intacct_dagster.client import (
    IntacctError,
    NotReached,
    PaginationIncomplete,
    ServerFailed,
    Throttled,
)
from intacct_dagster.config import Settings
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import WarehouseError, WarehouseLocked

#: Tags of a run that is to be retried though a step of it failed.
RETRIED = {"dagster/max_retries": "2", "dagster/retry_on_asset_or_op_failure": "true"}

P = ParamSpec("P")
R = TypeVar("R")


def plainly(settings: Settings, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`call(*args, **kwargs)`, with our errors as failures.

    Only what certainly had no effect may be retried by the op's policy. Only within a step.
    """
    try:
        return call(*args, **kwargs)
    except (IntacctError, StateError, WarehouseError) as error:
        if is_weather(error):
            retry_run()
        raise dg.Failure(
            in_words(error, settings), allow_retries=isinstance(error, NotReached | Throttled)
        ) from None


def is_weather(error: Exception) -> bool:
    """Whether the same may well succeed in a while, with nothing changed: on the way to Intacct, at
    Intacct, or because another process holds the warehouse."""
    return isinstance(
        error, NotReached | Throttled | ServerFailed | PaginationIncomplete | WarehouseLocked
    )


def retry_run() -> None:
    """Has Dagster's `run_retries` run the run of this step again, from where it failed.

    dagster.yaml retries only runs whose process died; a step that failed is retried only where
    these tags say that it was for the weather.
    """
    context = dg.OpExecutionContext.get()
    context.instance.add_run_tags(context.run_id, RETRIED)


def in_words(error: Exception, settings: Settings) -> str:
    """What a person is told of an error, with what only the configuration knows."""
    if isinstance(error, NotReached) and settings.is_sandbox:
        return f"{error}\nThat is the sandbox's address: `intacct-dagster sandbox` starts it."
    return str(error)
