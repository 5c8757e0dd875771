"""Commands on a project as a whole: set it up, examine it, compare it with Intacct's model."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from intacct_dagster.cli.user_errors import report_user_errors


@click.command()
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
@report_user_errors
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


@click.command()
@click.option("--entity", "entities", multiple=True, help="Only this entity; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings as well.")
@report_user_errors
def doctor(entities: tuple[str, ...], as_json: bool, strict: bool) -> None:
    """Look at everything that a run needs, and say what is wrong and what to do about it.

    Costs about one API transaction for each object and entity. Exits with 0 where there is no
    error, and with 1 where there is.
    """
    from intacct_dagster.cli.doctor.report import run_doctor

    sys.exit(0 if run_doctor(entities, as_json=as_json, strict=strict) else 1)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--entity", help="As the user of this entity sees it.  [default: the first one]")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
@report_user_errors
def coverage(file: Path, entity: str | None, as_json: bool) -> None:
    """Say where the objects and fields that FILE names are, and what can be done with them.

    Names may be those of REST or of the XML API; FILE is YAML, CSV or text (docs/coverage.md).
    Costs some API transactions for each object. Exits with 0 where all can be had, and with 1 where
    something cannot.
    """
    from intacct_dagster.cli.coverage import run_coverage

    sys.exit(0 if run_coverage(file, entity, as_json=as_json) else 1)
