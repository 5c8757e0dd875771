"""`intacct-dagster posting …`: the posting ledger, for a person who mends what was refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from intacct_dagster.config import ConfigError, Feed, Settings, load_settings
from intacct_dagster.warehouse import Entry, ItemState, Ledger, open_state

#: What people say, and what the ledger calls it.
STATES = {
    "planned": ItemState.PLANNED,
    "sending": ItemState.SENDING,
    "posted": ItemState.POSTED,
    "refused": ItemState.REJECTED,
    "uncertain": ItemState.UNCERTAIN,
}


@dataclass(frozen=True)
class Chosen:
    """Which documents a command is about; None and () stand for all."""

    feed: str | None = None
    entity: str | None = None
    source_ids: tuple[str, ...] = ()
    reason: str | None = None


@contextmanager
def _ledger() -> Iterator[tuple[Settings, Ledger]]:
    settings = load_settings()
    engine = open_state(settings.state)
    try:
        yield settings, Ledger(engine, settings.company)
    finally:
        engine.dispose()


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
    """Prints the documents in a state (None: any) and returns how many there are."""
    wanted = STATES[state] if state else None
    table = Table("feed", "entity", "day", "document", "amount", "state", "reason", "what to do")
    words = {value: word for word, value in STATES.items()}
    with _ledger() as (settings, ledger):
        found = list(_entries(settings, ledger, chosen, wanted))
    for name, _, entry in found:
        table.add_row(
            name,
            entry.entity,
            entry.day.isoformat(),
            entry.source_id,
            entry.amount.rstrip("0").ljust(entry.amount.find(".") + 3, "0"),
            words[entry.state],
            entry.reason or (f"key {entry.intacct_key}" if entry.intacct_key else ""),
            entry.what_to_do or "",
        )
    console = Console()
    if found:
        console.print(table)
    console.print(f"{len(found):,} documents{f' {state}' if state else ''}.", highlight=False)
    return len(found)


def release_items(chosen: Chosen) -> int:
    """Has refused documents sent once more as they are; returns how many. Prints what to do next.

    They are posted by the next run of their partitions.
    """
    released: dict[str, set[str]] = {}
    count = 0
    with _ledger() as (settings, ledger):
        groups: dict[tuple[str, str], list[Entry]] = {}
        for _, feed, entry in _entries(settings, ledger, chosen, ItemState.REJECTED):
            groups.setdefault((feed.object, entry.entity), []).append(entry)
        for (target, entity), entries in groups.items():
            done = set(ledger.release(target, entity, [each.source_id for each in entries]))
            count += len(done)
            released.setdefault(entity, set()).update(
                each.day.isoformat() for each in entries if each.source_id in done
            )
    console = Console()
    console.print(f"{count:,} refused documents will be sent once more.", highlight=False)
    if count:
        console.print("Materialize reconciled and posted for:", highlight=False)
    for entity, days in sorted(released.items()):
        console.print(f"  {entity}: {', '.join(sorted(days))}", soft_wrap=True, highlight=False)
    return count
