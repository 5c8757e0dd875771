"""What the demo did: collected from warehouse and ledger, audited by the sandbox, printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from intacct_dagster.cli.demo.sandbox_company import FEED, control_url
from intacct_dagster.config import Settings
from intacct_dagster.state import open_state
from intacct_dagster.state.ledger import Entry, ItemState, Ledger
from intacct_dagster.warehouse import Warehouse


@dataclass
class Summary:
    """What the demo did: the tables it prints, and the JSON it writes."""

    days: list[str]
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    documents: dict[str, dict[str, int]] = field(default_factory=dict)
    held: dict[str, dict[str, int]] = field(default_factory=dict)
    rejected: dict[str, dict[str, int]] = field(default_factory=dict)
    lines_in_quarantine: int = 0
    requests: int = 0
    transactions: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    disagreements: list[str] = field(default_factory=list)

    @property
    def posted(self) -> int:
        """Documents that this run posted."""
        return sum(each["posted"] for each in self.documents.values())

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return {**self.__dict__, "posted": self.posted, "books_agree": not self.disagreements}


def collect(summary: Summary, settings: Settings, days: Sequence[date], started: datetime) -> None:
    """Fill the summary from the warehouse and the ledger."""
    warehouse = Warehouse(settings.warehouse)
    bounds = [days[0], days[-1]]
    loads = (
        "SELECT object, entity, sum(rows)::BIGINT FROM meta.raw_loads"
        " WHERE day BETWEEN ? AND ? GROUP BY ALL ORDER BY ALL"
    )
    statuses = (
        f"SELECT _entity, status, count(*) FROM reconciled.{FEED}"
        " WHERE _day BETWEEN ? AND ? GROUP BY ALL ORDER BY ALL"
    )
    held = (
        f"SELECT _entity, gate, count(*) FROM plan.{FEED}"
        " WHERE action = 'held' AND _day BETWEEN ? AND ? GROUP BY ALL ORDER BY ALL"
    )
    with warehouse.connect(read_only=True) as connection:
        for entity, gate, count in connection.execute(held, bounds).fetchall():
            summary.held.setdefault(gate, {})[entity] = count
        for name, entity, rows in connection.execute(loads, bounds).fetchall():
            summary.rows.setdefault(name, {})[entity] = rows
        found = connection.execute(statuses, bounds).fetchall()
        (summary.lines_in_quarantine,) = connection.execute(
            "SELECT count(*) FROM feed.quarantine WHERE feed = ?", [FEED]
        ).fetchall()[0]
    with _ledger(settings) as ledger:
        for entity in settings.users:
            entries = ledger.entries(settings.feeds[FEED].object, entity, days=days, feed=FEED)
            counts = {status: count for each, status, count in found if each == entity}
            counts["held"] = sum(each.get(entity, 0) for each in summary.held.values())
            summary.documents[entity] = _documents(counts, entries, started)
            for entry in entries:
                if entry.state is ItemState.REJECTED:
                    by_reason = summary.rejected.setdefault(entry.reason or "", {})
                    by_reason[entity] = by_reason.get(entity, 0) + 1


def _documents(
    counts: Mapping[str, int], entries: Sequence[Entry], started: datetime
) -> dict[str, int]:
    def of(state: ItemState) -> list[Entry]:
        return [entry for entry in entries if entry.state is state]

    return {
        "source": sum(counts.values()) - counts["held"],
        **{
            status: counts.get(status, 0)
            for status in ("matched", "different", "duplicate", "invalid", "held")
        },
        "posted": sum(entry.updated_at >= started for entry in of(ItemState.POSTED)),
        "rejected": len(of(ItemState.REJECTED)),
        "uncertain": len(of(ItemState.UNCERTAIN)),
    }


@contextmanager
def _ledger(settings: Settings) -> Iterator[Ledger]:
    engine = open_state(settings.state)
    try:
        yield Ledger(engine, settings.company)
    finally:
        engine.dispose()


def audit_books(base_url: str, settings: Settings) -> list[str]:
    """Return where the sandbox's own books contradict the ledger; an empty list if they agree.

    Each document that the ledger calls posted must have been created exactly once, under the key
    that the ledger has, in the entity it belongs to; and nothing else may have been created.
    """
    answer = httpx.get(control_url(base_url, "books"), timeout=30).raise_for_status().json()
    target = settings.feeds[FEED].object
    created: dict[str, list[tuple[str, str]]] = {}
    others: dict[str, int] = {}
    for change in answer["changes"]:
        if change["object"] == target and change["operation"] == "create":
            created.setdefault(str(change["document"]), []).append(
                (change["entity"], change["key"])
            )
        else:
            others[f"{change['object']} {change['operation']}"] = (
                others.get(f"{change['object']} {change['operation']}", 0) + 1
            )
    posted: dict[str, tuple[str, str]] = {}
    with _ledger(settings) as ledger:
        for entity in settings.users:
            for entry in ledger.entries(target, entity, feed=FEED):
                if entry.state is ItemState.POSTED and entry.intacct_key is not None:
                    posted[entry.source_id] = (entity, entry.intacct_key)
    said = []
    for source_id in sorted(created.keys() | posted.keys()):
        places = created.get(source_id, [])
        if source_id not in posted:
            said.append(f"{source_id} was created, and the ledger does not call it posted")
        elif len(places) != 1:
            said.append(f"{source_id} was created {len(places)} times")
        elif places[0] != posted[source_id]:
            said.append(f"{source_id} is {places[0]}, and the ledger says {posted[source_id]}")
    said.extend(f"{count} times {what}, which nobody asked for" for what, count in others.items())
    return said


def print_summary(console: Console, summary: Summary) -> None:
    """Print the summary as tables, and what the books say."""
    entities = list(summary.documents)
    rows = Table("rows", *entities, title="Extracted", title_justify="left")
    for name, by_entity in summary.rows.items():
        rows.add_row(name, *(f"{by_entity.get(entity, 0):,}" for entity in entities))
    rows.add_section()
    rows.add_row(
        "all",
        *(f"{sum(each.get(entity, 0) for each in summary.rows.values()):,}" for entity in entities),
    )
    _justify(rows)
    console.print(rows)

    documents = Table("documents", *entities, "all", title=FEED, title_justify="left")
    for status in next(iter(summary.documents.values()), {}):
        counts = [summary.documents[entity][status] for entity in entities]
        documents.add_row(status, *(f"{count:,}" for count in counts), f"{sum(counts):,}")
    documents.add_section()
    for what, reasons in (("held", summary.held), ("rejected", summary.rejected)):
        for reason, by_entity in sorted(reasons.items()):
            counts = [by_entity.get(entity, 0) for entity in entities]
            documents.add_row(
                f"{what}: {reason}", *(f"{count:,}" for count in counts), f"{sum(counts):,}"
            )
    _justify(documents)
    console.print(documents)

    for line in _closing_lines(summary):
        console.print(line, soft_wrap=True, highlight=False)


def _closing_lines(summary: Summary) -> Iterator[str]:
    if summary.lines_in_quarantine:
        yield (
            f"{summary.lines_in_quarantine} malformed lines are in feed.quarantine, with file, "
            "line and reason."
        )
    seconds = ", ".join(f"{stage} {taken:.1f}" for stage, taken in summary.seconds.items())
    yield (
        f"{summary.requests:,} requests, which Sage would bill as {summary.transactions:,} API "
        f"transactions. Seconds: {seconds}."
    )
    if summary.disagreements:
        yield "[bold red]The sandbox's books do not agree:[/]"
        yield from (f"  {line}" for line in summary.disagreements[:20])
        return
    if summary.posted:
        yield f"[bold green]{summary.posted:,} documents posted.[/]"
    else:
        yield (
            "[bold green]Nothing was posted:[/] what belongs in Intacct is there, and what was "
            "rejected before has not changed."
        )
    yield "The sandbox's books agree: each is there exactly once, and nothing else was created."


def _justify(table: Table) -> None:
    for column in table.columns[1:]:
        column.justify = "right"
