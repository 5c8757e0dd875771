"""The states that `posting list --state` takes."""

from __future__ import annotations

import click

STATES = ("planned", "sending", "posted", "rejected", "uncertain")
STATES_METAVAR = f"[{'|'.join(STATES)}]"


def parse_state(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    """Return the state that a word of the command line means, as a callback of click.

    The old word `refused` is accepted with a warning.

    Raises:
        click.BadParameter: The word is no state.
    """
    if value is None:
        return None
    if value == "refused":
        click.echo(
            "Warning: --state refused is now --state rejected; the next release does not accept "
            "the old word.",
            err=True,
        )
        value = "rejected"
    return str(click.Choice(STATES).convert(value, parameter, context))
