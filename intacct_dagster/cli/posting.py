"""`intacct-dagster posting …`: the posting ledger, for a person who corrects what was rejected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from intacct_dagster.client import document_facts
from intacct_dagster.company import company_in
from intacct_dagster.config import ConfigError, Feed, Settings, load_settings
from intacct_dagster.posting.amendments import changed_fields
from intacct_dagster.posting.engine import PostingEngine
from intacct_dagster.posting.results import Sent
from intacct_dagster.state import Approvals, open_state
from intacct_dagster.state.ledger import Entry, ItemState, Ledger
from intacct_dagster.warehouse import Partition, Warehouse
from intacct_dagster.warehouse.reconciliation import (
    SHOWN_HASH,
    PlannedDocument,
    by_partition,
    plan_hash,
    plan_hashes,
    planned_documents,
)

#: What people say, and what the ledger calls it.
STATES = {
    "planned": ItemState.PLANNED,
    "sending": ItemState.SENDING,
    "posted": ItemState.POSTED,
    "rejected": ItemState.REJECTED,
    "uncertain": ItemState.UNCERTAIN,
}


_WORDS = {value: word for word, value in STATES.items()}
#: The same of a change of a document that was posted.
_WORDS_OF_CHANGES = _WORDS | {ItemState.POSTED: "made"}

#: The first and the last day of a command; None leaves the end open.
Days = tuple[date | None, date | None]


@dataclass(frozen=True)
class Chosen:
    """Which documents a command is about; None and () stand for all."""

    feed: str | None = None
    entity: str | None = None
    source_ids: tuple[str, ...] = ()
    reason: str | None = None


@contextmanager
def _state() -> Iterator[tuple[Settings, sa.Engine]]:
    settings = load_settings()
    engine = open_state(settings.state)
    try:
        yield settings, engine
    finally:
        engine.dispose()


@contextmanager
def _ledger() -> Iterator[tuple[Settings, Ledger]]:
    with _state() as (settings, engine):
        yield settings, Ledger(engine, settings.company)


def _feeds(settings: Settings, chosen: Chosen) -> Iterable[tuple[str, Feed]]:
    if chosen.feed is not None and chosen.feed not in settings.feeds:
        known = ", ".join(settings.feeds) or "none"
        raise ConfigError(f"There is no feed {chosen.feed}; intacct.yaml has: {known}.")
    if chosen.entity is not None and chosen.entity not in settings.users:
        known = ", ".join(settings.users)
        raise ConfigError(f"There is no entity {chosen.entity}; intacct.yaml has: {known}.")
    return [(name, feed) for name, feed in settings.feeds.items() if chosen.feed in (None, name)]


def _entries(
    settings: Settings, ledger: Ledger, chosen: Chosen, state: ItemState | None
) -> Iterator[tuple[str, Feed, Entry]]:
    for name, feed in _feeds(settings, chosen):
        for entity in settings.users:
            if chosen.entity not in (None, entity):
                continue
            for entry in ledger.entries(feed.object, entity, feed=name):
                if state not in (None, entry.state):
                    continue
                if chosen.source_ids and entry.source_id not in chosen.source_ids:
                    continue
                if chosen.reason and chosen.reason.lower() not in (entry.reason or "").lower():
                    continue
                yield name, feed, entry


def show_items(chosen: Chosen, *, state: str | None) -> int:
    """Prints the documents in a state (None: any), then the changes; returns how many there are."""
    wanted = STATES[state] if state else None
    table = Table("feed", "entity", "day", "document", "amount", "state", "reason", "what to do")
    changed = Table("feed", "entity", "day", "document", "changes", "state", "reason", "what to do")
    with _ledger() as (settings, ledger):
        found = list(_entries(settings, ledger, chosen, wanted))
        changes = list(_entries(settings, ledger.amendments, chosen, wanted))
        fields = _fields(ledger.amendments, changes)
    for name, _, entry in found:
        table.add_row(
            name,
            entry.entity,
            entry.day.isoformat(),
            entry.source_id,
            entry.amount.rstrip("0").ljust(entry.amount.find(".") + 3, "0"),
            _WORDS[entry.state],
            entry.reason or (f"key {entry.intacct_key}" if entry.intacct_key else ""),
            entry.what_to_do or "",
        )
    for name, feed, entry in changes:
        changed.add_row(
            name,
            entry.entity,
            entry.day.isoformat(),
            entry.source_id,
            fields[feed.object, entry.entity, entry.source_id],
            _WORDS_OF_CHANGES[entry.state],
            entry.reason or "",
            entry.what_to_do or "",
        )
    console = Console()
    if found:
        console.print(table)
    console.print(f"{len(found):,} documents{f' {state}' if state else ''}.", highlight=False)
    if changes:
        console.print(changed)
        word = f" {_WORDS_OF_CHANGES[wanted]}" if wanted else ""
        console.print(f"{len(changes):,} changes of posted documents{word}.", highlight=False)
    return len(found) + len(changes)


def _fields(
    ledger: Ledger, entries: Iterable[tuple[str, Feed, Entry]]
) -> dict[tuple[str, str, str], str]:
    """Which fields each change is of, by (object, entity, source id)."""
    groups: dict[tuple[str, str], list[str]] = {}
    for _, feed, entry in entries:
        groups.setdefault((feed.object, entry.entity), []).append(entry.source_id)
    return {
        (target, entity, source_id): changed_fields(body)
        for (target, entity), names in groups.items()
        for source_id, body in ledger.payloads(target, entity, names).items()
    }


def release_items(chosen: Chosen) -> int:
    """Has what was rejected sent once more; returns how many. Prints what to do next.

    Documents go as they are, changes as the next plan makes them from the record. They are sent by
    the next run of their partitions.
    """
    released: dict[str, set[str]] = {}
    counts: list[int] = []
    with _ledger() as (settings, ledger):
        for each in (ledger, ledger.amendments):
            groups: dict[tuple[str, str], list[Entry]] = {}
            for _, feed, entry in _entries(settings, each, chosen, ItemState.REJECTED):
                groups.setdefault((feed.object, entry.entity), []).append(entry)
            counts.append(0)
            for (target, entity), entries in groups.items():
                done = set(each.release(target, entity, [one.source_id for one in entries]))
                counts[-1] += len(done)
                released.setdefault(entity, set()).update(
                    one.day.isoformat() for one in entries if one.source_id in done
                )
    documents, changes = counts
    console = Console()
    console.print(f"{documents:,} rejected documents will be sent once more.", highlight=False)
    if changes:
        console.print(f"{changes:,} rejected changes will be sent once more.", highlight=False)
    if documents or changes:
        stages = "reconciled, plan and posted" if changes else "reconciled and posted"
        console.print(f"Materialize {stages} for:", highlight=False)
    for entity, days in sorted(released.items()):
        console.print(f"  {entity}: {', '.join(sorted(days))}", soft_wrap=True, highlight=False)
    return documents + changes


@dataclass(frozen=True)
class _Plan:
    """The plan of a feed for some partitions, as it stands in the warehouse."""

    feed: str
    documents: tuple[PlannedDocument, ...]

    @property
    def hashes(self) -> dict[Partition, str]:
        return plan_hashes(self.documents)


def _plans(settings: Settings, chosen: Chosen, days: Days) -> list[_Plan]:
    first = days[0] or settings.start_date
    last = days[1] or settings.end_date or datetime.now(UTC).date()
    entities = [each for each in settings.users if chosen.entity in (None, each)]
    partitions = {
        (entity, first + timedelta(days=number))
        for entity in entities
        for number in range((last - first).days + 1)
    }
    warehouse = Warehouse(settings.warehouse, lock_timeout=settings.limits.lock_timeout)
    return [
        _Plan(name, tuple(planned_documents(warehouse, name, partitions)))
        for name, _ in _feeds(settings, chosen)
    ]


def show_plan(chosen: Chosen, days: Days) -> None:
    """Prints what would be posted, by partition, and the hash by which a person approves it."""
    console = Console()
    with _state() as (settings, engine):
        approvals = Approvals(engine, settings.company)
        ledger = Ledger(engine, settings.company)
        for plan in _plans(settings, chosen, days):
            hashes = plan.hashes
            approved = approvals.approved(plan.feed, hashes)
            changes = any(each.action == "change" for each in plan.documents)
            table = Table("entity", "day", "to create", "amount", "posted")
            for column in ("to change", "changed") if changes else ():
                table.add_column(column)
            for column in ("held", "plan", "approved"):
                table.add_column(column)
            of_feed = Chosen(plan.feed, chosen.entity)
            posted = {
                (entry.entity, entry.source_id)
                for _, _, entry in _entries(settings, ledger, of_feed, ItemState.POSTED)
            }
            made = {
                (entry.entity, entry.source_id, entry.payload_sha256)
                for _, _, entry in _entries(settings, ledger.amendments, of_feed, ItemState.POSTED)
            }
            for (entity, day), documents in sorted(by_partition(plan.documents).items()):
                create = [each for each in documents if each.action == "create"]
                change = [each for each in documents if each.action == "change"]
                changed = sum((entity, one.source_id, one.payload_hash) in made for one in change)
                table.add_row(
                    entity,
                    day.isoformat(),
                    f"{len(create):,}",
                    f"{sum((each.amount for each in create), Decimal()):,.2f}",
                    f"{sum((entity, each.source_id) in posted for each in create):,}",
                    *((f"{len(change):,}", f"{changed:,}") if changes else ()),
                    f"{sum(each.held for each in documents):,}",
                    hashes[entity, day][:SHOWN_HASH] or "nothing to create",
                    "yes" if (entity, day) in approved else "",
                )
            console.print(f"[bold]{plan.feed}[/]", highlight=False)
            if not plan.documents:
                console.print("Nothing is planned: materialize its plan first.", highlight=False)
                continue
            console.print(table)
            found = plan_hash(plan.documents)
            if found:
                console.print(
                    f"All of it together is plan {found[:SHOWN_HASH]}; `intacct-dagster posting "
                    f"approve {found[:SHOWN_HASH]}` with the same options approves it.",
                    soft_wrap=True,
                    highlight=False,
                )


def approve_plan(said: str, chosen: Chosen, days: Days, *, by: str) -> int:
    """Approves the plan that has this hash, of the partitions that the options leave.

    Returns how many partitions it has. Raises ConfigError if no plan has it, as where it changed
    since it was looked at.
    """
    with _state() as (settings, engine):
        plans = _plans(settings, chosen, days)
        for plan in plans:
            if len(said) >= SHOWN_HASH and plan_hash(plan.documents).startswith(said):
                Approvals(engine, settings.company).approve(plan.feed, plan.hashes, by=by)
                count = sum(bool(each) for each in plan.hashes.values())
                Console().print(
                    f"{plan.feed}: the plan of {count} partitions is approved by {by}; their next "
                    "run posts it.",
                    highlight=False,
                )
                return count
    now = ", ".join(
        f"{plan.feed} is {plan_hash(plan.documents)[:SHOWN_HASH] or 'empty'}" for plan in plans
    )
    raise ConfigError(
        f"No plan of these partitions is {said}: {now or 'there is none'}. It may have changed "
        "since you saw it: look at it with `intacct-dagster posting plan`, with the same options."
    )


def allow_documents(feed: str, source_ids: tuple[str, ...], *, by: str) -> int:
    """Notes a person's word that documents are no duplicates; how many are new."""
    with _state() as (settings, engine):
        _feeds(settings, Chosen(feed))
        count = Approvals(engine, settings.company).say_no_duplicates(feed, source_ids, by=by)
    Console().print(
        f"{count:,} documents of {feed} are no duplicates, by the word of {by}: plan again.",
        highlight=False,
    )
    return count


def show_item(source_id: str, chosen: Chosen, *, payload: bool) -> int:
    """Prints all that is known of a document, and of the request that it went in."""
    console = Console()
    this = replace(chosen, source_ids=(source_id,))
    with _ledger() as (settings, ledger):
        found = list(_entries(settings, ledger, this, None))
        for name, feed, entry in found:
            table = Table(show_header=False, title=f"{source_id} of {name}", title_justify="left")
            table.add_row("entity, day", f"{entry.entity}, {entry.day}")
            table.add_row("amount", f"{Decimal(entry.amount):,.2f}")
            table.add_row("state", f"{_WORDS[entry.state]}, since {_shown(entry.updated_at)}")
            if entry.intacct_key:
                path = f"/objects/{feed.object}/{entry.intacct_key}"
                table.add_row("record", f"key {entry.intacct_key}: {settings.base_url}{path}")
                table.add_row("read back", _shown(entry.read_back_at) or "not yet")
            _tell(table, ledger, feed, entry, payload=payload)
            console.print(table)
        changes = list(_entries(settings, ledger.amendments, this, None))
        fields = _fields(ledger.amendments, changes)
        for name, feed, entry in changes:
            title = f"last change of {source_id} of {name}"
            table = Table(show_header=False, title=title, title_justify="left")
            table.add_row("state", f"{_WORDS_OF_CHANGES[entry.state]}, {_shown(entry.updated_at)}")
            table.add_row("changes", fields[feed.object, entry.entity, source_id])
            if entry.state is ItemState.POSTED:
                table.add_row("read back", _shown(entry.read_back_at) or "not yet")
            _tell(table, ledger.amendments, feed, entry, payload=payload)
            console.print(table)
    if not found:
        console.print(
            f"The ledger has no document {source_id}: it was never planned. Look at its status in "
            "reconciled.<feed>.",
            highlight=False,
            soft_wrap=True,
        )
    return len(found)


def _tell(table: Table, ledger: Ledger, feed: Feed, entry: Entry, *, payload: bool) -> None:
    """Why it is so, and the request that it went in."""
    for label, value in (
        ("reason", entry.reason),
        ("what to do", entry.what_to_do),
        ("field", entry.field),
        ("error id", entry.error_id),
        ("support id", entry.support_id),
    ):
        if value:
            table.add_row(label, value)
    if entry.chunk_id:
        (request,) = ledger.requests(feed.object, entry.entity, chunk_id=entry.chunk_id)
        table.add_row("request", f"{request.chunk_id[:16]}, position {entry.position}")
        table.add_row("", f"{request.size} documents, {request.bytes:,} bytes")
        table.add_row("", f"{request.state.value}, planned {_shown(request.planned_at)}")
        table.add_row("first sent", _shown(request.first_sent_at) or "never")
        if request.answered_at:
            status = f", HTTP {request.http_status}" if request.http_status else ""
            table.add_row("answered", f"{_shown(request.answered_at)}{status}")
        if request.note:
            table.add_row("note", request.note)
    table.add_row("run", entry.run_id)
    if payload:
        (body,) = ledger.payloads(feed.object, entry.entity, [entry.source_id]).values()
        table.add_row("payload", body.decode())


def resolve_items(chosen: Chosen, *, key: str | None) -> list[Sent]:
    """Asks Intacct now what became of documents and changes that are uncertain, and prints it.

    With `key`, a person says which record is that of the one named document, where Intacct holds
    several.
    """
    console = Console()
    picked = {chosen.source_ids[0]: key} if key is not None else {}
    done: list[Sent] = []
    with _state() as (settings, state), company_in(state, settings) as intacct:
        ledger = Ledger(state, settings.company)
        for name, feed in _feeds(settings, chosen):
            for entity in settings.users:
                if chosen.entity not in (None, entity):
                    continue
                for each in (ledger, ledger.amendments):
                    if not each.unresolved(feed.object, entity):
                        continue
                    engine = PostingEngine(
                        intacct.entity(entity),
                        each,
                        settle_after=timedelta(seconds=settings.posting.settle_seconds),
                    )
                    what, word = (
                        ("changes of ", "made") if each.holds_amendments else ("", "posted")
                    )
                    for sent in engine.resolve(feed.object, feed.match_on, chosen=picked):
                        done.append(sent)
                        console.print(
                            f"{what}{name} {entity}: {sent.posted} {word}, "
                            f"{sent.rejected} rejected, {sent.uncertain} uncertain of {sent.items}"
                            + (f" ({sent.note})" if sent.note else ""),
                            highlight=False,
                            soft_wrap=True,
                        )
    if not done:
        console.print("Nothing is uncertain.", highlight=False)
    return done


def plan_reversal(
    chosen: Chosen, *, run_id: str | None, on: date, into: Path | None
) -> list[dict[str, object]]:
    """Prints how posted documents would be undone, and writes the requests as JSON. Sends nothing.

    Each request is `{"source_id", "entity", "path", "body"}`; of an object that no workflow of the
    REST API undoes, path and body are null, and a person undoes it in Intacct.
    """
    console = Console()
    table = Table("feed", "entity", "document", "key", "amount", "how")
    requests: list[dict[str, object]] = []
    total = Decimal()
    with _ledger() as (settings, ledger):
        for name, feed, entry in _entries(settings, ledger, chosen, ItemState.POSTED):
            if run_id is not None and not entry.run_id.startswith(run_id):
                continue
            reversal = document_facts(feed.object).reverse
            path = f"/workflows/{feed.object}/{reversal.action}" if reversal else None
            body = {"key": entry.intacct_key}
            if reversal is not None and "reversedDate" in reversal.needs:
                body["reversedDate"] = on.isoformat()
            how = f"POST {path}" if path else "in Intacct, by hand: REST has no workflow for it"
            table.add_row(
                name,
                entry.entity,
                entry.source_id,
                entry.intacct_key,
                f"{Decimal(entry.amount):,.2f}",
                how,
            )
            total += Decimal(entry.amount)
            requests.append(
                {
                    "source_id": entry.source_id,
                    "entity": entry.entity,
                    "path": path,
                    "body": body if path else None,
                }
            )
    if requests:
        console.print(table)
    console.print(
        f"{len(requests):,} posted documents, {total:,.2f} in all. Nothing was sent: a reversal is "
        "for a person to do, and the ledger keeps calling them posted.",
        highlight=False,
        soft_wrap=True,
    )
    if into is not None:
        into.write_bytes(msgspec.json.format(msgspec.json.encode(requests), indent=2) + b"\n")
    return requests


def _shown(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else ""
