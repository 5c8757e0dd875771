"""Commands on posted documents: list, plan, approve, retry, resolve, reverse."""

from __future__ import annotations

import getpass
from datetime import UTC, date, datetime
from pathlib import Path

import click

from intacct_dagster.cli.state_option import STATES_METAVAR, parse_state
from intacct_dagster.cli.user_errors import report_user_errors


@click.group()
def posting() -> None:
    """See what became of posted documents and their changes, and have rejected ones sent again."""


_feed = click.option("--feed", help="Only this feed.")
_entity = click.option("--entity", help="Only this entity.")
_reason = click.option("--reason", help="Only those whose reason has this in it.")
_source_ids = click.argument("source_ids", nargs=-1)


@posting.command("list")
@click.option(
    "--state",
    callback=parse_state,
    metavar=STATES_METAVAR,
    help="Only those in this state.",
)
@_feed
@_entity
@_reason
@_source_ids
@report_user_errors
def list_items(
    state: str | None,
    feed: str | None,
    entity: str | None,
    reason: str | None,
    source_ids: tuple[str, ...],
) -> None:
    """List documents of the posting ledger, and changes of posted ones: all, or those named.

    A document has one change, the last. A change that is "made" is listed with --state posted.
    """
    from intacct_dagster.cli.posting import Chosen, show_items

    show_items(Chosen(feed, entity, source_ids, reason), state=state)


@posting.command()
@_feed
@_entity
@_reason
@click.option("--all", "everything", is_flag=True, help="All that the other options leave.")
@_source_ids
@report_user_errors
def retry(
    feed: str | None,
    entity: str | None,
    reason: str | None,
    everything: bool,
    source_ids: tuple[str, ...],
) -> None:
    """Have rejected documents sent once more, unchanged, and rejected changes of posted ones.

    For what was corrected in Intacct: a period opened, a customer created. A document that was
    corrected in the source needs no word; it is posted by the next run. A change is made again from
    the record as it is by then: plan it again, and approve that plan where approval is required.
    """
    from intacct_dagster.cli.posting import Chosen, release_items

    if not source_ids and not everything:
        raise click.UsageError("Name the documents, or say --all.")
    release_items(Chosen(feed, entity, source_ids, reason))


_first_day = click.option(
    "--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="From this day on."
)
_last_day = click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Up to this day.")
_by = click.option("--by", default=getpass.getuser, help="Whose word it is (default: your login).")


def _days(first: datetime | None, last: datetime | None) -> tuple[date | None, date | None]:
    return first and first.date(), last and last.date()


@posting.command("plan")
@_feed
@_entity
@_first_day
@_last_day
@report_user_errors
def show_plan(
    feed: str | None, entity: str | None, first: datetime | None, last: datetime | None
) -> None:
    """Show what would be posted and changed, by partition, and the hash that approves it."""
    from intacct_dagster.cli.posting import Chosen
    from intacct_dagster.cli.posting import show_plan as show

    show(Chosen(feed, entity), _days(first, last))


@posting.command()
@click.argument("plan_hash")
@_feed
@_entity
@_first_day
@_last_day
@_by
@report_user_errors
def approve(
    plan_hash: str,
    feed: str | None,
    entity: str | None,
    first: datetime | None,
    last: datetime | None,
    by: str,
) -> None:
    """Approve a plan by its hash, where `posting.approval` is required.

    Give the same options as to `posting plan`, which shows the hash. A plan that changed since has
    another one, and is not approved by this.
    """
    from intacct_dagster.cli.posting import Chosen, approve_plan

    approve_plan(plan_hash, Chosen(feed, entity), _days(first, last), by=by)


@posting.command()
@click.option("--feed", required=True, help="The feed that the documents are of.")
@click.argument("source_ids", nargs=-1, required=True)
@_by
@report_user_errors
def allow(feed: str, source_ids: tuple[str, ...], by: str) -> None:
    """Say of documents that are held as possible duplicates that they are none."""
    from intacct_dagster.cli.posting import allow_documents

    allow_documents(feed, source_ids, by=by)


@posting.command()
@_feed
@_entity
@click.option("--payload", is_flag=True, help="Also what Intacct was sent.")
@click.argument("source_id")
@report_user_errors
def show(feed: str | None, entity: str | None, payload: bool, source_id: str) -> None:
    """Show all that is known of one document and its last change, and of their requests."""
    from intacct_dagster.cli.posting import Chosen, show_item

    if not show_item(source_id, Chosen(feed, entity), payload=payload):
        raise SystemExit(1)


@posting.command()
@_feed
@_entity
@click.option("--key", help="The key of the record that is the document's, where several carry it.")
@_source_ids
@report_user_errors
def resolve(
    feed: str | None, entity: str | None, key: str | None, source_ids: tuple[str, ...]
) -> None:
    """Ask Intacct now what became of documents, and of changes, that are uncertain.

    Where Intacct holds a document more than once, look which record is the right one, delete the
    other there or leave it to an accountant, and name the document with --key.
    """
    from intacct_dagster.cli.posting import Chosen, resolve_items

    if (key is not None) != (len(source_ids) == 1):
        raise click.UsageError("Name one document with --key, or neither.")
    if any(sent.uncertain for sent in resolve_items(Chosen(feed, entity, source_ids), key=key)):
        raise SystemExit(1)


@posting.command("reverse-plan")
@_feed
@_entity
@_reason
@click.option("--run", "run_id", help="Only what was posted by this run (its id or a beginning).")
@click.option(
    "--on",
    type=click.DateTime(["%Y-%m-%d"]),
    default=lambda: datetime.now(UTC).strftime("%Y-%m-%d"),
    help="The day of the reversals (default: today, UTC).",
)
@click.option("--json", "into", type=click.Path(path_type=Path), help="Write the requests there.")
@click.option("--all", "everything", is_flag=True, help="All that the other options leave.")
@_source_ids
@report_user_errors
def reverse_plan(
    feed: str | None,
    entity: str | None,
    reason: str | None,
    run_id: str | None,
    on: datetime,
    into: Path | None,
    everything: bool,
    source_ids: tuple[str, ...],
) -> None:
    """Show how posted documents would be undone, for an accountant to decide. Sends nothing."""
    from intacct_dagster.cli.posting import Chosen, plan_reversal

    if not source_ids and not everything and run_id is None:
        raise click.UsageError("Name the documents or a --run, or say --all.")
    plan_reversal(Chosen(feed, entity, source_ids, reason), run_id=run_id, on=on.date(), into=into)
