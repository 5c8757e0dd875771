"""A user's mistake gets a message and exit status 1, never a traceback."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from intacct_dagster.storage import storage_trouble

P = ParamSpec("P")
R = TypeVar("R")

SANDBOX_MISSING = (
    "The sandbox is not installed: run `pip install intacct-sandbox`, or `make install` in a clone "
    "of the project."
)


def report_user_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that a user can cause into a message and exit status 1."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ModuleNotFoundError as error:
            if error.name != "intacct_sandbox":
                raise
            raise click.ClickException(SANDBOX_MISSING) from None
        except _user_errors() as error:
            raise click.ClickException(str(error)) from None
        except Exception as error:
            trouble = storage_trouble(error)
            if trouble is None:
                raise
            raise click.ClickException(trouble) from None

    return run


def _user_errors() -> tuple[type[Exception], ...]:
    """Return the errors whose message is meant for the user.

    Imported only once something failed, so that `--help` does not wait for Dagster and DuckDB.
    """
    from intacct_dagster.cli.dev.ui_guard import UIError
    from intacct_dagster.client import IntacctError
    from intacct_dagster.config import ConfigError
    from intacct_dagster.locks import LockError
    from intacct_dagster.state import StateError
    from intacct_dagster.warehouse import WarehouseError

    # The sandbox is an optional package: only where it was imported can it have failed.
    sandbox_package = sys.modules.get("intacct_sandbox")
    sandbox = () if sandbox_package is None else (sandbox_package.SandboxError,)
    return (ConfigError, IntacctError, LockError, StateError, UIError, WarehouseError, *sandbox)
