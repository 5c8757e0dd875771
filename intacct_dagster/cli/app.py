"""`intacct-dagster …`: a thin face on the library. A user's mistake gets a message only."""

from __future__ import annotations

import functools
import getpass
import signal
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from intacct_dagster import __version__
from intacct_dagster.cli.state_option import StateChoice

P = ParamSpec("P")
R = TypeVar("R")


SANDBOX_MISSING = (
    "The sandbox is not installed: run `pip install intacct-sandbox`, or `make install` in a clone "
    "of the project."
)


def _plainly(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that a user can cause into a message and exit status 1."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ModuleNotFoundError as error:
            if error.name != "intacct_sandbox":
                raise
            raise click.ClickException(SANDBOX_MISSING) from None
        except _mistakes() as error:
            raise click.ClickException(str(error)) from None

    return run


def _mistakes() -> tuple[type[Exception], ...]:
    """Return the errors whose message is meant for the user.

    Imported only once something failed, so that `--help` does not wait for Dagster and DuckDB.
    """
    from intacct_dagster.cli.ui_guard import UIError
    from intacct_dagster.client import IntacctError
    from intacct_dagster.config import ConfigError
    from intacct_dagster.locks import LockError
    from intacct_dagster.state import StateError
    from intacct_dagster.warehouse import WarehouseError

    # The sandbox is an optional package: only where it was imported can it have failed.
    sandbox_package = sys.modules.get("intacct_sandbox")
    sandbox = () if sandbox_package is None else (sandbox_package.SandboxError,)
    return (ConfigError, IntacctError, LockError, StateError, UIError, WarehouseError, *sandbox)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="intacct-dagster")
def main() -> None:
    """A multi-entity Sage Intacct company in DuckDB, and reconciled transactions back into Intacct.

    Settings come from intacct.yaml in the working directory, or from the file that INTACCT_CONFIG
    names.
    """
    import stamina

    # Retries are counted in the summary; they need no line each.
    stamina.instrumentation.set_on_retry_hooks([])
    # A command that is told to end takes what it started along: `finally` runs.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


@main.command(
    "sandbox",
    add_help_option=False,
    context_settings={
        "ignore_unknown_options": True,
        "allow_extra_args": True,
        "allow_interspersed_args": False,
    },
)
@click.pass_context
@_plainly
def sandbox(context: click.Context) -> None:
    """Serve a simulated Sage Intacct company over HTTP (the same as `intacct-sandbox`)."""
    from intacct_sandbox.cli import main as sandbox_main

    sandbox_main.main(context.args, prog_name=context.command_path)


@main.command()
@_plainly
def settings() -> None:
    """Print the page that tells every key of intacct.yaml (docs/configuration.md)."""
    from intacct_dagster.cli.settings_page import settings_page

    click.echo(settings_page(), nl=False)


@main.command()
@click.option(
    "--days",
    default=14,
    show_default=True,
    type=click.IntRange(1, 60),
    help="How many of the company's last days.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the summary to this file.",
)
@_plainly
def demo(days: int, json_file: Path | None) -> None:
    """Run the main job, end to end, on the sandbox company.

    Extracts the last days into DuckDB by entity and day, reconciles the sales invoices of the feed
    with Intacct, posts what is missing, and asks the sandbox's own books whether they agree. Exits
    with 0 only if they do. A second run finds everything posted and posts nothing.
    """
    from intacct_dagster.cli.demo import run_demo

    sys.exit(0 if run_demo(days=days, json_file=json_file) else 1)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the UI.")
@click.option("--port", default=3000, show_default=True, help="Port of the UI; 0 takes a free one.")
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="Another name that the UI is reached by; may be repeated.",
)
@_plainly
def dev(host: str, port: int, hosts: tuple[str, ...]) -> None:
    """Open the Dagster UI, and serve the sandbox beside it if that is the company.

    Requests of pages from elsewhere are refused: the UI answers only to its own names (those of
    this machine, --host, --allow-host and `dagster_url`), its own origin, and JSON. Stops both at
    Ctrl-C.
    """
    from intacct_dagster.cli.demo import run_dev

    sys.exit(run_dev(host=host, port=port, hosts=hosts))


@main.command()
@click.argument("statement")
@click.option("--csv", "form", flag_value="csv", help="As CSV, all rows.")
@click.option("--json", "form", flag_value="json", help="As JSON, all rows; amounts are text.")
@click.option(
    "--rows",
    default=100,
    show_default=True,
    type=click.IntRange(0),
    help="Rows of a table; 0 shows all.",
)
@_plainly
def sql(statement: str, form: str | None, rows: int) -> None:
    """Ask the warehouse, in SQL.

    Reads the copy for analysts, so no run waits for it. Takes one statement, which only reads, and
    opens no other file and no network. `-` reads the statement from standard input.
    docs/questions.md has ten questions to begin with.
    """
    from intacct_dagster.cli.sql import read_statement, run_sql

    asked: Any = form or "table"
    run_sql(read_statement(statement), form=asked, rows=rows, out=sys.stdout, told=sys.stderr)


@main.command()
@click.option("--object", "objects", multiple=True, help="Only this object; may be repeated.")
@click.option("--entity", "entities", multiple=True, help="Only this entity; may be repeated.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Another DuckDB file.  [default: the warehouse]",
)
@_plainly
def rebuild(objects: tuple[str, ...], entities: tuple[str, ...], into: Path | None) -> None:
    """Make raw tables again from kept pages, without asking Intacct.

    Does again, in order and with all proofs, every load whose pages are kept (`keep_pages` in
    intacct.yaml), and what sweeps found deleted since; an object that the catalogue has lost gets
    the newest one kept. Partitions whose pages are not kept any more stay as they are. Everything
    else in the warehouse is made of raw tables: materialize it again.
    """
    from intacct_dagster.config import load_settings
    from intacct_dagster.warehouse import Warehouse
    from intacct_dagster.warehouse.raw import RawLoad
    from intacct_dagster.warehouse.raw import rebuild as rebuild_raw
    from intacct_dagster.warehouse.raw.current import refresh_current

    settings = load_settings()
    warehouse = Warehouse(into or settings.warehouse, lock_timeout=settings.limits.lock_timeout)
    rebuilt: dict[str, int] = {}

    def tell(load: RawLoad, rows: int) -> None:
        rebuilt[load.object] = rebuilt.get(load.object, 0) + 1
        days = f"{min(load.days)} to {max(load.days)}"
        click.echo(f"{load.object} of {load.entity}, {days}: {rows:,} rows")

    done = rebuild_raw(
        warehouse, settings.pages, objects=objects, entities=entities, on_loaded=tell
    )
    for name in rebuilt:
        refresh_current(warehouse, name)
    if not done.loads:
        raise click.ClickException(
            f"No pages of that are kept in {settings.pages}: say `keep_pages: 30 days` in "
            "intacct.yaml, and they will be from the next run on."
        )
    click.echo(
        f"{done.loads} loads of {len(rebuilt)} objects are in {warehouse.path}, with the deletes "
        f"of {done.delete_scans} sweeps and the catalogue of {len(done.objects)} objects that it "
        "lacked."
    )
    click.echo(
        "What was read or found before pages were kept is not: a backfill and `deletes/…` bring it."
    )


@main.command()
@click.option("--company", help="Id of the company.")
@click.option("--base-url", help="Address of the API.  [default: Sage's]")
@click.option("--scope", type=click.Choice(["non-production", "production"]))
@click.option("--grant", type=click.Choice(["client_credentials", "authorization_code"]))
@click.option("--client-id", help="Of the registered application.")
@click.option("--discover", metavar="USER", help="Top-level user who lists the entities.")
@click.option("--redirect-uri", metavar="URL", help="Where Sage sends a browser after a consent.")
@click.option("--paste", is_flag=True, help="Paste that address, over SSH for example.")
@click.option(
    "--entity", "entities", metavar="ID=USER", multiple=True, help="An entity and its Sage user."
)
@click.option("--module", "modules", multiple=True, help="All objects of it, such as time.")
@click.option("--object", "objects", multiple=True, help="This object; may be repeated.")
@click.option(
    "--start-date",
    type=click.DateTime(["%Y-%m-%d"]),
    help="First day to read.  [default: 1 January]",
)
@click.option(
    "--session-key",
    type=click.Choice(["file", "keyring"]),
    default="file",
    show_default=True,
    help="Where the key of the stored sessions is kept.",
)
@click.option("--no-input", is_flag=True, help="Ask nothing: for scripts.")
@click.option("--force", is_flag=True, help="Overwrite intacct.yaml and .env.")
@_plainly
def init(
    company: str | None,
    base_url: str | None,
    scope: str | None,
    grant: str | None,
    client_id: str | None,
    discover: str | None,
    redirect_uri: str | None,
    paste: bool,
    entities: tuple[str, ...],
    modules: tuple[str, ...],
    objects: tuple[str, ...],
    start_date: datetime | None,
    session_key: str,
    no_input: bool,
    force: bool,
) -> None:
    """Write intacct.yaml and .env for a company, from what you answer or give as options.

    The client secret is asked for, or comes from INTACCT_CLIENT_SECRET: no option takes it, because
    everybody on a machine sees a command line. Objects are counted once each, to tell what they
    cost in API transactions. With authorization_code, the user of --discover consents in a browser
    first; that session is ended again.
    """
    from intacct_dagster.cli.init import Answers
    from intacct_dagster.cli.init import init as write

    answers = Answers(
        company=company,
        base_url=base_url,
        scope=scope,
        grant=grant,
        client_id=client_id,
        start=start_date.date() if start_date else None,
        discover=discover,
        redirect_uri=redirect_uri,
        paste=paste,
        entities=entities,
        objects=objects,
        modules=modules,
        keyring=session_key == "keyring",
    )
    write(answers, ask=not no_input, force=force)


@main.command()
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
@_plainly
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


@main.group()
def sessions() -> None:
    """See, check and revoke the stored sessions with Intacct."""


@sessions.command("list")
@_plainly
def list_sessions() -> None:
    """List the stored sessions, without asking Intacct. Exits with 1 if one needs a person."""
    from intacct_dagster.cli.sessions import show_sessions

    sys.exit(0 if show_sessions() else 1)


@sessions.command()
@click.argument("entities", metavar="[ENTITY…]", nargs=-1)
@_plainly
def check(entities: tuple[str, ...]) -> None:
    """Use each session, and say whether it works, in its entity. Exits with 1 if one does not."""
    from intacct_dagster.cli.sessions import check_sessions

    sys.exit(0 if check_sessions(entities) else 1)


@sessions.command("key")
@click.option("--new", is_flag=True, help="Replace the key, in its file or in the keyring.")
@_plainly
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
@_plainly
def revoke(entities: tuple[str, ...]) -> None:
    """End sessions at Intacct, and forget them. Sage ends all tokens of their users with them."""
    from intacct_dagster.cli.sessions import revoke_sessions

    revoke_sessions(entities)


@main.command()
@click.option("--entity", "entities", multiple=True, help="Only this entity; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings as well.")
@_plainly
def doctor(entities: tuple[str, ...], as_json: bool, strict: bool) -> None:
    """Look at everything that a run needs, and say what is wrong and what to do about it.

    Costs about one API transaction for each object and entity. Exits with 0 where there is no
    error, and with 1 where there is.
    """
    from intacct_dagster.cli.doctor import run_doctor

    sys.exit(0 if run_doctor(entities, as_json=as_json, strict=strict) else 1)


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--entity", help="As the user of this entity sees it.  [default: the first one]")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
@_plainly
def coverage(file: Path, entity: str | None, as_json: bool) -> None:
    """Say where the objects and fields that FILE names are, and what can be done with them.

    Names may be those of REST or of the XML API; FILE is YAML, CSV or text (docs/coverage.md).
    Costs some API transactions for each object. Exits with 0 where all can be had, and with 1 where
    something cannot.
    """
    from intacct_dagster.cli.coverage import run_coverage

    sys.exit(0 if run_coverage(file, entity, as_json=as_json) else 1)


@main.group()
def posting() -> None:
    """See what became of posted documents and their changes, and have rejected ones sent again."""


_feed = click.option("--feed", help="Only this feed.")
_entity = click.option("--entity", help="Only this entity.")
_reason = click.option("--reason", help="Only those whose reason has this in it.")
_source_ids = click.argument("source_ids", nargs=-1)


@posting.command("list")
@click.option(
    "--state",
    type=StateChoice(),
    help="Only those in this state.",
)
@_feed
@_entity
@_reason
@_source_ids
@_plainly
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
@_plainly
def retry(
    feed: str | None,
    entity: str | None,
    reason: str | None,
    everything: bool,
    source_ids: tuple[str, ...],
) -> None:
    """Have rejected documents sent once more, unchanged, and rejected changes of posted ones.

    For what was mended in Intacct: a period opened, a customer created. A document that was
    corrected in the source needs no word; it is posted by the next run. A change is made anew from
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
@_plainly
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
@_plainly
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
@_plainly
def allow(feed: str, source_ids: tuple[str, ...], by: str) -> None:
    """Say of documents that are held as possible duplicates that they are none."""
    from intacct_dagster.cli.posting import allow_documents

    allow_documents(feed, source_ids, by=by)


@posting.command()
@_feed
@_entity
@click.option("--payload", is_flag=True, help="Also what Intacct was sent.")
@click.argument("source_id")
@_plainly
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
@_plainly
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
@_plainly
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


if __name__ == "__main__":
    main()
