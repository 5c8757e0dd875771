"""`intacct-dagster …`: the group of all commands, which are in `commands/`."""

from __future__ import annotations

import signal
import sys
import warnings
from typing import Any

import click

from intacct_dagster import __version__
from intacct_dagster.cli.commands.objects import objects
from intacct_dagster.cli.commands.posting import posting
from intacct_dagster.cli.commands.project import coverage, doctor, init
from intacct_dagster.cli.commands.sandbox import demo, dev, sandbox
from intacct_dagster.cli.commands.sessions import authorize, sessions
from intacct_dagster.cli.commands.state_store import state
from intacct_dagster.cli.commands.warehouse import rebuild, sql


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="intacct-dagster")
@click.pass_context
def main(context: click.Context) -> None:
    """A multi-entity Sage Intacct company in DuckDB, and reconciled transactions back into Intacct.

    Settings come from intacct.yaml in the working directory, or from the file that INTACCT_CONFIG
    names.
    """
    import stamina  # noqa: PLC0415 - `--help` does not wait for it

    # Retries are counted in the summary; they need no line each.
    stamina.instrumentation.set_on_retry_hooks([])
    # SIGTERM ends what a command started as well: `finally` runs.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    context.with_resource(warnings.catch_warnings())
    _show_warnings_as_lines()


def _show_warnings_as_lines() -> None:
    """Show a warning about the user's own file as one line, and leave others to Python."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        # Only a command that read the file can warn of it: its module is there by then.
        config = sys.modules.get("intacct_dagster.config")
        if config is not None and issubclass(category, config.RenamedKeyWarning):
            file, line = place[:2]
            click.echo(f"Warning: {file}:{line}: {message}", err=True)
        else:
            others(message, category, *place, **more)

    warnings.showwarning = show


for _command in (
    *(authorize, coverage, demo, dev, doctor, init),
    *(objects, posting, rebuild, sandbox, sessions, sql, state),
):
    main.add_command(_command)


if __name__ == "__main__":
    main()
