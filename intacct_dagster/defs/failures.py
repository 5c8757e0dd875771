"""Errors of this package as Dagster failures: the message without a traceback, and retries."""

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
from intacct_dagster.locks import LockError
from intacct_dagster.state import StateError
from intacct_dagster.storage import storage_trouble
from intacct_dagster.warehouse import WarehouseError, WarehouseLocked

#: Tags of a run that is to be retried though a step of it failed.
RETRIED = {"dagster/max_retries": "2", "dagster/retry_on_asset_or_op_failure": "true"}

P = ParamSpec("P")
R = TypeVar("R")


def as_dagster_failure(
    settings: Settings, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Call `call(*args, **kwargs)` and turn the errors of this package into Dagster failures.

    Call it only within a step. The op's retry policy applies only to requests that certainly had
    no effect.

    Raises:
        dagster.Failure: In place of an IntacctError, StateError or WarehouseError, and of an error
            that says that the disk is full, read-only, failing, or a file damaged.
    """
    try:
        return call(*args, **kwargs)
    except (IntacctError, LockError, StateError, WarehouseError) as error:
        if is_transient(error):
            retry_run()
        raise dg.Failure(
            error_text(error, settings), allow_retries=isinstance(error, NotReached | Throttled)
        ) from None
    except Exception as error:
        trouble = storage_trouble(error)
        if trouble is None:
            raise
        raise dg.Failure(trouble, allow_retries=False) from None


def is_transient(error: Exception) -> bool:
    """Return whether the same call may succeed later with nothing changed.

    That is a failure of the network or of Intacct, or a warehouse that another process holds.
    """
    return isinstance(
        error, NotReached | Throttled | ServerFailed | PaginationIncomplete | WarehouseLocked
    )


def retry_run() -> None:
    """Tag the run of this step so that Dagster's `run_retries` runs it again from where it failed.

    dagster.yaml retries only runs whose process died. A step that failed is retried only where
    these tags say that the error was transient.
    """
    context = dg.OpExecutionContext.get()
    context.instance.add_run_tags(context.run_id, RETRIED)


def error_text(error: Exception, settings: Settings) -> str:
    """Return the message of an error, with the remedy that only the configuration knows."""
    if isinstance(error, NotReached) and settings.is_sandbox:
        return f"{error}\nThat is the sandbox's address: `intacct-dagster sandbox` starts it."
    return str(error)
