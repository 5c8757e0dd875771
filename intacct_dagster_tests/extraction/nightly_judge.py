"""What must hold of `intacct.<object>` in a world of nights, after every step and every night.

After every step, whatever failed in it:

1. A record that was in the table once is in it as long as a session of an entity that is read sees
   it, or an entity has it that is read no more. (Nobody can ask an entity that refuses, and one of
   which nothing was ever read is not waited for.)
2. Every row is one that Intacct had at some time, and no key is there twice.
3. A record of one entity is never shown older than it was shown before.
4. A record that was deleted is not there once an entity that is still read had read it, and all
   entities were scanned since with none of them in trouble.

After every night, too:

5. A record whose day was read after its last change is there with Intacct's values: by any session,
   if that change gave it a later change time; otherwise by each session that sees it, and the
   others that ever saw it have been scanned since.
6. A record that a scan could see is there.
7. The table is what `recompute_all` makes of the whole log.
8. An entity that was renamed has its new id everywhere, once something was stored.

Of lines the record is the document, and its value is all of its lines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from intacct_dagster.extraction.days import midnight, ranges_of_days
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw.current import refresh_current
from intacct_dagster.warehouse.raw.log import read_log
from intacct_dagster.warehouse.raw.names import table_name
from intacct_dagster.warehouse.raw.versions import recompute_all
from intacct_dagster_tests.extraction.books import COLOUR, INVOICE, LINE, Books, Record, wire_time

Row = tuple[str, str | None, str | None, str | None, str | None]
"""Key, entity, document, change time and value, as they are shown."""

_CHANGED = "strftime({}, '%Y-%m-%dT%H:%M:%SZ')"
_SHOWN = {
    INVOICE: f"NULL, {_CHANGED.format('audit_modified_date_time')}, CAST(total AS VARCHAR)",
    LINE: f"bill_key, {_CHANGED.format('bill_audit_modified_date_time')}, memo",
    COLOUR: "NULL, NULL, memo",
}


@dataclass(frozen=True)
class Stretch:
    """Days that are read as one, up to a moment; `name` is what an interrupted reading goes by."""

    name: tuple[str, date, date, bool]
    since: datetime | None
    until: datetime
    began: datetime


@dataclass
class Judge:
    """Follows the books, and what was read of them."""

    books: Books
    warehouse: Warehouse
    entities: list[str]
    start: date
    settle: int
    takes_older: bool = False
    names: dict[str, str] = field(default_factory=dict)
    history: dict[str, set[Row]] = field(default_factory=lambda: defaultdict(set))
    present: set[str] = field(default_factory=set)
    shown: dict[str, int] = field(default_factory=dict)
    covered: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    seers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    newest: dict[str, datetime] = field(default_factory=dict)
    fresh: dict[str, bool] = field(default_factory=dict)
    scanned: dict[str, datetime] = field(default_factory=dict)
    deleted: dict[str, tuple[datetime, set[str]]] = field(default_factory=dict)
    wanted: set[str] = field(default_factory=set)
    unsteady: dict[str, datetime] = field(default_factory=dict)
    stored: bool = True
    began: datetime = datetime(1, 1, 1, tzinfo=UTC)
    readers: set[str] = field(default_factory=set)
    read_by: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    interrupted: dict[tuple[str, date, date, bool], Stretch] = field(default_factory=dict)

    # what happens

    def changed(self, record: Record | None, key: str) -> None:
        """Take note that a record was changed, or (None) deleted, just now."""
        self.covered[key].clear()
        self.wanted.discard(key)
        if record is None:
            for line in {row[0] for row in self.history[key]}:
                self.deleted[line] = (self.books.now, set())
            return
        seers = {each for each in self.entities if record.seen_by(each)}
        if seers != self.seers[key]:
            self.unsteady[key] = self.books.now
        self.seers[key] |= seers
        self.fresh[key] = key not in self.newest or record.changed > self.newest[key]
        self.newest[key] = max(record.changed, self.newest.get(key, record.changed))
        rows = set(self._rows(record))
        for line in {row[0] for row in self.history[key]} - {row[0] for row in rows}:
            self.deleted.setdefault(line, (self.books.now, set()))
        self.history[key] |= rows

    def renamed(self, was: str, now: str) -> None:
        """Take note that an entity has another id from now on."""
        self.names = {k: now if v == was else v for k, v in self.names.items()} | {was: now}
        self.stored = False
        sets = (*self.covered.values(), *self.seers.values(), *self.read_by.values())
        for known in (*sets, self.readers):
            if was in known:
                known.remove(was)
                known.add(now)
        for _, scans in self.deleted.values():
            scans.discard(was)
        self.history = defaultdict(
            set, {k: {self._named(row) for row in rows} for k, rows in self.history.items()}
        )

    def retired(self, entity: str) -> None:
        """Take note that an entity is not read any more."""
        for key, record in self.books.records.items():
            if record.entity == entity:
                self.covered[key].clear()

    def reads(
        self, entity: str, days: Sequence[date], look_back: int, bound: datetime
    ) -> list[Stretch]:
        """Return what an extraction that begins now is to read, and forget no interrupted one."""
        self.began = self.books.now
        wanted = set(days)
        if self.books.object != COLOUR:
            wanted |= {each - timedelta(days=n) for each in days for n in range(look_back + 1)}
        stretches = []
        for each in ranges_of_days(day for day in wanted if day >= self.start or day in days):
            since, end = midnight(each[0]), midnight(each[-1] + timedelta(days=1))
            settled = bound if since < bound else self.books.now - timedelta(seconds=self.settle)
            newest = settled - end < timedelta(days=1)
            until = settled if settled < end or newest else end
            name = (entity, each[0], each[-1], until == end)
            older = self.takes_older and each[0] <= self.start
            new = Stretch(name, None if older else since, until, self.books.now)
            stretches.append(self.interrupted.setdefault(name, new))
        return stretches

    def has_read(self, stretches: list[Stretch]) -> None:
        """Take note that an extraction is done."""
        self.stored = True
        self.readers |= {each.name[0] for each in stretches}
        for each in stretches:
            self.interrupted.pop(each.name, None)
            for key, record in self.books.records.items():
                if not record.seen_by(each.name[0]) or record.modified >= each.began:
                    continue
                dated = (each.since is None or each.since <= record.changed) and (
                    record.changed < each.until
                )
                if dated or self.books.object == COLOUR:
                    self.covered[key].add(each.name[0])
                    for row in self._rows(record):
                        self.read_by[row[0]].add(each.name[0])

    def has_scanned(self, entity: str, began: datetime) -> None:
        """Take note that a delete scan is done; it is clean if all others could be asked."""
        self.stored = True
        for key, record in self.books.records.items():
            if (
                record.seen_by(entity)
                and record.modified < began
                and record.changed < began - timedelta(seconds=self.settle)
                and self._fetched(record)
            ):
                self.wanted.add(key)
        if self.books.refused or self.books.down:
            return
        self.scanned[entity] = began
        for at, scans in self.deleted.values():
            if at < began:
                scans.add(entity)

    def _fetched(self, record: Record) -> bool:
        if self.takes_older:
            return self.books.object != COLOUR
        late_enough = record.changed >= midnight(self.start)
        return late_enough and (
            self.books.object == INVOICE or (self.books.object == LINE and self.books.reached)
        )

    # what must hold

    def now(self, step: str) -> str | None:
        """Return what is wrong after a step, or None."""
        rows = self._table(self.warehouse)
        keys = {row[0] for row in rows}
        if len(keys) != len(rows):
            return f"after {step}: a key is there twice"
        there: dict[str, Record] = {}
        for record in self.books.records.values():
            there |= dict.fromkeys((row[0] for row in self._rows(record)), record)
        for key in sorted(self.present - keys):
            if key in there and self._has(there[key]) and not self._just_seen(there[key]):
                return f"after {step}: {key} has vanished, and Intacct has {there[key]}"
            self.present.discard(key)
        self.present |= keys
        for row in rows:
            unit = row[2] or row[0]
            if self._named(row) not in self.history[unit]:
                return (
                    f"after {step}: {row} was never so, but {sorted(self.history[unit], key=str)}"
                )
            _, found = self.deleted.get(row[0], (None, set()))
            gone = row[0] not in there and self.read_by[row[0]] & set(self.entities)
            if gone and found and found >= set(self.entities):
                return f"after {step}: {row} was deleted, and scans found it"
            version = _version(row)
            if version < self.shown.get(row[0], 0) and len(self.seers[unit]) == 1:
                return f"after {step}: {row} was shown as {self.shown[row[0]]} before"
            self.shown[row[0]] = version
        return None

    def night(self) -> str | None:
        """Return what is wrong after a night, or None."""
        verdict = self.now("the night") or self.right(self.warehouse) or self._as_recomputed()
        if verdict is None and self.present:
            rows = refresh_current(self.warehouse, self.books.object).rows
            if rows != len(self.present):
                verdict = f"{rows} rows, and {len(self.present)} keys"
        return verdict

    def right(self, warehouse: Warehouse) -> str | None:
        """Return which record is not as it must be, or None."""
        shown: dict[str, set[Row]] = defaultdict(set)
        for row in self._table(warehouse):
            if self.stored and row[1] in self.names:
                return f"{row} has the former id of {self.names[row[1]]}"
            shown[row[2] or row[0]].add(self._named(row))
        for key, record in sorted(self.books.records.items()):
            rows = set(self._rows(record))
            if self._must_be_right(record) and shown[key] != rows:
                return f"{sorted(shown[key])} should be {sorted(rows)}: {record}"
            if key in self.wanted and {row[0] for row in rows} - {row[0] for row in shown[key]}:
                return f"{sorted(rows)} was not fetched by a scan, there is {shown[key]}"
        return None

    def _has(self, record: Record) -> bool:
        if record.entity is not None and record.entity not in self.entities:
            return True
        return any(
            record.seen_by(each) and not (each in self.books.refused and each not in self.readers)
            for each in self.entities
        )

    def _just_seen(self, record: Record) -> bool:
        return self.unsteady.get(record.key, self.began) > self.began

    def _must_be_right(self, record: Record) -> bool:
        seers = {each for each in self.entities if record.seen_by(each)}
        covered = self.covered[record.key]
        if self.books.object != COLOUR and self.fresh.get(record.key, True):
            return bool(seers & covered)
        never = datetime(1, 1, 1, tzinfo=UTC)
        others = self.seers[record.key] - seers
        return (
            bool(seers)
            and seers <= covered
            and all(self.scanned.get(each, never) > record.modified for each in others)
        )

    def _as_recomputed(self) -> str | None:
        table = f'warehouse.intacct."{table_name(self.books.object)}"'
        found: list[tuple[object, ...]] = []
        with self.warehouse.staging() as staging, staging.attached() as connection:
            connection.execute("BEGIN TRANSACTION")  # of which nothing is to stay
            log = read_log(connection, self.books.object)
            if log is not None:
                connection.execute(f"CREATE TEMP TABLE as_kept AS FROM {table}")
                recompute_all(connection, log)
                for one, other in ((table, "as_kept"), ("as_kept", table)):
                    found += connection.execute(
                        f"SELECT '{one}', * FROM (FROM {one} EXCEPT ALL FROM {other})"
                    ).fetchall()
            connection.execute("ROLLBACK")
        return f"not as the whole log has it: {found}" if found else None

    # rows

    def _rows(self, record: Record) -> list[Row]:
        name = self.books.object
        shown = []
        for row in self.books.rows(record, name, ""):
            changed = None if name == COLOUR else wire_time(record.changed)
            value = row["total"] if name == INVOICE else row["memo"]
            shown.append((row["key"], row["entity.id"], row.get("bill.key"), changed, value))
        return shown

    def _table(self, warehouse: Warehouse) -> list[Row]:
        if not warehouse.path.exists():
            return []
        with warehouse.connect(read_only=True) as connection:
            if read_log(connection, self.books.object) is None:
                return []
            return connection.execute(
                f"SELECT key, entity_id, {_SHOWN[self.books.object]}"
                f' FROM intacct."{table_name(self.books.object)}"'
            ).fetchall()

    def _named(self, row: Row) -> Row:
        entity = row[1]
        return (row[0], self.names.get(entity, entity) if entity else entity, *row[2:])


def judge_rebuilt(judge: Judge, again: Warehouse) -> str | None:
    """Return how a warehouse that was made of kept pages differs from the first one, or None."""
    here, there = ({row[0] for row in judge._table(each)} for each in (judge.warehouse, again))
    if here != there:
        return f"rebuilt without {sorted(here - there)}, and with {sorted(there - here)}"
    stored, judge.stored = judge.stored, False  # nobody knows there what entities are called
    try:
        return judge.right(again)
    finally:
        judge.stored = stored


def _version(row: Row) -> int:
    text = row[4] or "0"
    return int(text.removeprefix("v").partition(".")[0])
