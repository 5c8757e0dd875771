"""The states that `posting list --state` takes."""

from __future__ import annotations

import click

STATES = ("planned", "sending", "posted", "rejected", "uncertain")


class StateChoice(click.Choice[str]):
    """One of the ledger's states; the old word `refused` is accepted with a warning."""

    def __init__(self) -> None:
        super().__init__(STATES)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the state that a word of the command line means."""
        if value == "refused":
            click.echo(
                "Warning: --state refused is now --state rejected; the next release does not "
                "accept the old word.",
                err=True,
            )
            value = "rejected"
        return super().convert(value, param, ctx)
