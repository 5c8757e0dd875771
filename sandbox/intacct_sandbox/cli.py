"""`intacct-sandbox …`: serve the company, list its behaviours, compare it with recordings."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from intacct_sandbox.control.behaviours import all_behaviours, read_choices
from intacct_sandbox.errors import SandboxError
from intacct_sandbox.seed.size import Size
from intacct_sandbox.server import run
from intacct_sandbox.tools.parity import replay_directory

P = ParamSpec("P")
R = TypeVar("R")


def _as_message(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a `SandboxError` into its message and exit status 1."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except SandboxError as error:
            raise click.ClickException(str(error)) from None

    return wrapped


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="intacct-sandbox", prog_name="intacct-sandbox")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8765, show_default=True, help="Port; 0 takes a free one.")
@click.option("--seed", default=1, show_default=True, help="Which company is generated.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that keeps what is posted, over restarts.  [default: kept nowhere]",
)
@click.option(
    "--behaviour",
    "behaviours",
    metavar="NAME=VALUE",
    multiple=True,
    help="What to do where Intacct's behaviour is not documented; may be repeated.",
)
@click.option(
    "--faults",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file with a fault plan.  [default: no faults]",
)
@click.option(
    "--tier",
    default="1",
    show_default=True,
    type=click.Choice(["1", "2", "3", "4", "none"]),
    help="Whose limit of requests in flight applies.",
)
@click.option(
    "--size",
    "named",
    default="demo",
    show_default=True,
    type=click.Choice(["demo", "large"]),
    help="large: 100 entities, 3 years, 5 million journal entry lines, kept in --state.",
)
@click.option("--entities", type=int, help="Entities of a large company.  [default: 100]")
@click.option("--years", type=int, help="Years of its books.  [default: 3]")
@click.option("--lines", type=int, help="Its journal entry lines.  [default: 5000000]")
@click.pass_context
@_as_message
def main(  # noqa: PLR0913 - each is an option of the command
    context: click.Context,
    host: str,
    port: int,
    seed: int,
    state: Path | None,
    behaviours: tuple[str, ...],
    faults: Path | None,
    tier: str,
    named: str,
    entities: int | None,
    years: int | None,
    lines: int | None,
) -> None:
    """Serve a simulated Sage Intacct company over HTTP.

    Prints one line of JSON when it is ready: base URL, credentials, entities and users. Stops at
    Ctrl-C.
    """
    if context.invoked_subcommand is not None:
        return
    # SIGTERM ends the command as an exception does, so that `finally` runs.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    chosen = read_choices(behaviours)
    asked = {"entities": entities, "years": years, "lines": lines}
    given = {name: value for name, value in asked.items() if value is not None}
    size = Size(**given) if given or named == "large" else None
    with _generating() as progress:
        run(
            host=host,
            port=port,
            seed=seed,
            state=state,
            behaviours=chosen,
            faults=faults,
            tier=tier,
            size=size,
            progress=progress,
        )


@contextmanager
def _generating() -> Iterator[Callable[[str, int, int], None]]:
    """Show on standard error how far a large company is generated."""
    try:
        from rich.console import Console  # noqa: PLC0415 - only a large company needs it
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )
    except ModuleNotFoundError:
        yield lambda what, done, all_: None
        return

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    bars = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))
    tasks: dict[str, Any] = {}

    def tell(what: str, done: int, all_: int) -> None:
        if not tasks:
            bars.start()
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=all_)
        bars.update(tasks[what], completed=done)
        if what == "arranging" and done == all_:
            bars.stop()

    try:
        yield tell
    finally:
        if tasks:
            bars.stop()


@main.command("behaviours")
def list_behaviours() -> None:
    """List the behaviours of Intacct that are not documented, with their values.

    The first value of each is the default; choose another with `--behaviour NAME=VALUE`.
    """
    for one in all_behaviours().values():
        click.echo(f"{one.name}: {one.about}")
        for value, meaning in one.values.items():
            mark = "*" if value == one.default else " "
            click.echo(f"  {mark} {value}{'' if meaning == value else f': {meaning}'}")


@main.command()
@click.argument("directory", type=click.Path(path_type=Path))
@_as_message
def replay(directory: Path) -> None:
    """Compare recorded exchanges of the real API with the sandbox's answers.

    Reads VCR cassettes (.json, .yaml), HAR files and bare answers (.json) below DIRECTORY and
    prints a verdict on each exchange. Exits with 1 where the sandbox answers otherwise in status,
    names, their order, types, formats, nulls or meta, unless the parity table names the difference.
    """
    sys.exit(0 if replay_directory(directory, click.echo) else 1)
