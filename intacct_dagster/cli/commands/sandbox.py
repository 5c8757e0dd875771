"""Commands around the sandbox company: serve it, run the demo on it, open the UI."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from intacct_dagster.cli.user_errors import report_user_errors


@click.command(
    "sandbox",
    add_help_option=False,
    context_settings={
        "ignore_unknown_options": True,
        "allow_extra_args": True,
        "allow_interspersed_args": False,
    },
)
@click.pass_context
@report_user_errors
def sandbox(context: click.Context) -> None:
    """Serve a simulated Sage Intacct company over HTTP (the same as `intacct-sandbox`)."""
    from intacct_sandbox.cli import main as sandbox_main

    sandbox_main.main(context.args, prog_name=context.command_path)


@click.command()
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
@report_user_errors
def demo(days: int, json_file: Path | None) -> None:
    """Run the main job, end to end, on the sandbox company.

    Extracts the last days into DuckDB by entity and day, reconciles the sales invoices of the feed
    with Intacct, posts what is missing, and asks the sandbox's own books whether they agree. Exits
    with 0 only if they do. A second run finds everything posted and posts nothing.
    """
    from intacct_dagster.cli.demo.run import run_demo

    sys.exit(0 if run_demo(days=days, json_file=json_file) else 1)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the UI.")
@click.option("--port", default=3000, show_default=True, help="Port of the UI; 0 takes a free one.")
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="Another name that the UI is reached by; may be repeated.",
)
@report_user_errors
def dev(host: str, port: int, hosts: tuple[str, ...]) -> None:
    """Open the Dagster UI, and serve the sandbox beside it if that is the company.

    Requests of pages from elsewhere are refused: the UI answers only to its own names (those of
    this machine, --host, --allow-host and `webserver_url`), its own origin, and JSON. Stops both at
    Ctrl-C.
    """
    from intacct_dagster.cli.dev.run import run_dev

    sys.exit(run_dev(host=host, port=port, hosts=hosts))
