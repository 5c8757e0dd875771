"""Commands on the state store: back up, put back, check, compare with Intacct, pair."""

from __future__ import annotations

from pathlib import Path

import click

from intacct_dagster.cli.user_errors import report_user_errors


@click.group()
def state() -> None:
    """Back up and check what cannot be read from Intacct again."""


@state.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@report_user_errors
def backup(file: Path) -> None:
    """Copy the state store into FILE, while others use it."""
    from intacct_dagster.cli.state_store import backup as backup_

    backup_(file)


@state.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.confirmation_option(prompt="No run may be under way. The state store is replaced. Go on?")
@report_user_errors
def restore(file: Path) -> None:
    """Put the backup FILE in the place of the state store.

    What was there is kept beside it. Stop Dagster first.
    """
    from intacct_dagster.cli.state_store import restore as restore_

    restore_(file)


@state.command()
@report_user_errors
def check() -> None:
    """Check the state store, and that it agrees with the warehouse."""
    from intacct_dagster.cli.state_store import check as check_

    if check_():
        raise SystemExit(1)


@state.command()
@report_user_errors
def compare() -> None:
    """Ask Intacct for what the ledger no longer knows.

    After the state store was lost or put back from a backup, nothing is posted that the warehouse
    knows as posted until this ran.
    """
    from intacct_dagster.cli.state_store import compare as compare_

    compare_()


@state.command()
@click.confirmation_option(prompt="The state store will belong to this warehouse alone. Go on?")
@report_user_errors
def pair() -> None:
    """Let this warehouse take the place of one that was lost, moved or replaced."""
    from intacct_dagster.cli.state_store import pair as pair_

    pair_()
