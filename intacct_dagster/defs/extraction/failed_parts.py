"""What failed of a run that reads several objects and entities, and why, as one Dagster failure."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import dagster as dg

from intacct_dagster.client import IntacctError
from intacct_dagster.config import Settings
from intacct_dagster.defs.failures import error_text, is_transient, retry_run
from intacct_dagster.defs.tables import table_of
from intacct_dagster.locks import LockError
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import WarehouseError

#: Lines of the failure's text; its metadata has more.
_SHOWN = 25
#: Objects that a line names.
_NAMED = 5
_EXPECTED = (IntacctError, LockError, StateError, WarehouseError)
_COLUMNS = dict.fromkeys(("object", "entity", "what_failed", "why", "what_to_do"), "string")


@dataclass(frozen=True)
class FailedPart:
    """A part of a run that failed: `step` with these objects of an entity, for `error`.

    `step` is what was done, such as "read". `entity` is empty where it is all of them.
    """

    step: str
    objects: tuple[str, ...]
    entity: str
    error: Exception


def log_defect(log: dg.DagsterLogManager, part: FailedPart) -> None:
    """Log the traceback of an error that is none of this package's, for it to be reported."""
    if not isinstance(part.error, _EXPECTED):
        trace = "".join(traceback.format_exception(part.error))
        log.error(f"{', '.join(part.objects)} of {part.entity or 'all entities'}:\n{trace}")


def fail(
    settings: Settings, failed: Sequence[FailedPart], done: Collection[str], parts: str
) -> NoReturn:
    """Fail the step with a table of what failed, why, and what to do.

    Args:
        done: Names of the parts that were done; what they loaded is reported before this is called.
        parts: What they are, for people: "reads".

    Raises:
        dagster.Failure: Always. If all of it is transient, the run is tagged to be retried.
    """
    rows = list(_rows(settings, failed))
    if all(is_transient(each.error) for each in failed):
        retry_run()
    raise dg.Failure(
        _text(settings, failed, rows, len(done), parts),
        metadata={
            "failed": len(failed),
            "done": len(done),
            "failures": table_of(rows, _COLUMNS),
        },
    )


def _text(
    settings: Settings,
    failed: Sequence[FailedPart],
    rows: Sequence[dict[str, str]],
    done: int,
    parts: str,
) -> str:
    messages = {_message(settings, each.error) for each in failed}
    if len(messages) == 1 and not done:
        return messages.pop()
    lines = [
        f"{each['object']} | {each['entity']} | {each['what_failed']} | {each['why']} | "
        f"{each['what_to_do']}"
        for each in rows[:_SHOWN]
    ]
    more = [f"… and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    number = sum(len(each.objects) for each in failed)
    first = (  # an alert has this line as the reason, and the others as what to do
        f"{number:,} of {number + done:,} {parts} failed; the others are done and reported. "
        f"The first, {rows[0]['object']}: {rows[0]['why']}"
    )
    return "\n".join(
        [first, " | ".join(name.replace("_", " ") for name in _COLUMNS), *lines, *more]
    )


def _rows(settings: Settings, failed: Sequence[FailedPart]) -> Iterator[dict[str, str]]:
    """Yield the rows of the table. Objects of an entity that failed alike are one row."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    why_of: dict[str, str] = {}
    for each in failed:
        message = _message(settings, each.error)
        alike.setdefault((each.step, each.entity, message), []).extend(each.objects)
        first = each.error.what if isinstance(each.error, IntacctError) else None
        why_of[message] = first or message.partition("\n")[0]
    for (step, entity, message), objects in alike.items():
        left = len(objects) - _NAMED
        yield {
            "object": ", ".join(objects[:_NAMED]) + (f" and {left} more" if left > 0 else ""),
            "entity": entity or "all",
            "what_failed": step,
            "why": " ".join(why_of[message].split()),
            "what_to_do": " ".join(message.removeprefix(why_of[message]).split())
            or "Run it again.",
        }


def _message(settings: Settings, error: Exception) -> str:
    if isinstance(error, _EXPECTED):
        return error_text(error, settings)
    return (
        f"{type(error).__name__}: {error}\n"
        "This is a defect of intacct-dagster: report it with the traceback, which the log of the "
        "run has."
    )
