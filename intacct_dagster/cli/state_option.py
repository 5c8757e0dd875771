"""The states that `posting list --state` takes."""

from __future__ import annotations

from typing import Any

import click

STATES = ("planned", "sending", "posted", "rejected", "uncertain")
STATES_METAVAR = f"[{'|'.join(STATES)}]"


class StateChoice(click.ParamType):
    """One of the ledger's states; the old word `refused` is accepted with a warning."""

    name = "state"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the state that a word of the command line means."""
        if value == "refused":
            click.echo(
                "Warning: --state refused is now --state rejected; the next release does not "
                "accept the old word.",
                err=True,
            )
            value = "rejected"
        return click.Choice(STATES).convert(value, param, ctx)
