"""Commands on objects: what is known of them, and how to read one from the start."""

from __future__ import annotations

import click

from intacct_dagster.cli.user_errors import report_user_errors


@click.group()
def objects() -> None:
    """See how far each object is known, forget one, or read it from the start."""


@objects.command()
@report_user_errors
def status() -> None:
    """Show as of when each object of each entity is known, and what is amiss."""
    from rich.console import Console

    from intacct_dagster.cli.objects import show_status

    show_status(Console())


@objects.command()
@click.argument("name", metavar="OBJECT")
@click.option("--entity", "entities", multiple=True, help="Only this entity; may be repeated.")
@click.confirmation_option(prompt="What was loaded of it counts no more. Go on?")
@report_user_errors
def forget(name: str, entities: tuple[str, ...]) -> None:
    """Withdraw what was loaded of an object.

    Its versions stay in `raw` and count no more; its table in `intacct` is empty until its days are
    read again.
    """
    from intacct_dagster.cli.objects import forget as forget_

    forget_(name, entities)


@objects.command()
@click.argument("name", metavar="OBJECT")
@click.option("--entity", "entities", multiple=True, help="Only this entity; may be repeated.")
@report_user_errors
def reload(name: str, entities: tuple[str, ...]) -> None:
    """Read an object from the start, then withdraw what was loaded before.

    This is what to do when a company was refreshed from a copy, or something else wrote to the
    raw table. What is there stays until all of it is read.
    """
    from intacct_dagster.cli.objects import reload as reload_

    reload_(name, entities)
