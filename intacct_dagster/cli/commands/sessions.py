"""Commands on sessions with Intacct."""

from __future__ import annotations

import sys

import click

from intacct_dagster.cli.user_errors import report_user_errors


@click.command()
@click.argument("entities", metavar="ENTITY…", nargs=-1)
@click.option("--all", "everyone", is_flag=True, help="All whose session is missing or has ended.")
@click.option("--paste", is_flag=True, help="Paste the address that the browser is sent to.")
@click.option("--browser/--no-browser", default=True, help="Whether a browser is opened.")
@click.option(
    "--timeout",
    default=300.0,
    show_default=True,
    type=click.FloatRange(min=1),
    help="Seconds to wait for each consent.",
)
@report_user_errors
def authorize(
    entities: tuple[str, ...], everyone: bool, paste: bool, browser: bool, timeout: float
) -> None:
    """Have the Sage users of entities consent in a browser (grant: authorization_code).

    Each entity needs a Sage user of its own. Over SSH, or with --paste, open the page anywhere and
    paste the address that the browser is sent back to. Sessions are kept encrypted and renewed by
    whichever run needs them.
    """
    from intacct_dagster.cli.sessions import authorize as authorize_entities

    if not entities and not everyone:
        raise click.UsageError("Name the entities, or say --all.")
    authorize_entities(entities, everyone=everyone, paste=paste, browser=browser, timeout=timeout)


@click.group()
def sessions() -> None:
    """See, check and revoke the stored sessions with Intacct."""


@sessions.command("list")
@report_user_errors
def list_sessions() -> None:
    """List the stored sessions, without asking Intacct. Exits with 1 if one needs a person."""
    from intacct_dagster.cli.sessions import show_sessions

    sys.exit(0 if show_sessions() else 1)


@sessions.command()
@click.argument("entities", metavar="[ENTITY…]", nargs=-1)
@report_user_errors
def check(entities: tuple[str, ...]) -> None:
    """Use each session, and say whether it works, in its entity. Exits with 1 if one does not."""
    from intacct_dagster.cli.sessions import check_sessions

    sys.exit(0 if check_sessions(entities) else 1)


@sessions.command("key")
@click.option("--new", is_flag=True, help="Replace the key, in its file or in the keyring.")
@report_user_errors
def make_session_key(new: bool) -> None:
    """Make the key of the stored sessions in the OS keyring, or take it there from token.key.

    For `auth: {session_key: keyring}` in intacct.yaml. A key that is there already stays, and
    nothing is removed.

    With --new a key that others may have read is replaced, wherever it is, and the sessions that it
    encrypted are forgotten: the next run opens them again, or `authorize` does. Stop runs first: a
    process keeps the key that it started with.
    """
    from intacct_dagster.cli.sessions import make_key, renew_key

    if new:
        renew_key()
    else:
        make_key()


@sessions.command()
@click.argument("entities", metavar="ENTITY…", nargs=-1, required=True)
@report_user_errors
def revoke(entities: tuple[str, ...]) -> None:
    """End sessions at Intacct, and forget them. Sage ends all tokens of their users with them."""
    from intacct_dagster.cli.sessions import revoke_sessions

    revoke_sessions(entities)
