"""Worlds of nights: a company whose books change by day and while they are read, and its warehouse.

Everything follows from the seed. The product is driven by its public interface alone: extractions,
delete scans, kept pages. After every step `intacct.<object>` is held against the books, record by
record (see `nightly_judge` for what must hold).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path

from intacct_dagster.client import ClientCredentials, Intacct, IntacctError
from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import PageArchive, RawLoad, SchemaField, rebuild
from intacct_dagster_tests.extraction.books import COLOUR, INVOICE, LINE, Books, Record
from intacct_dagster_tests.extraction.nightly_judge import Judge, judge_rebuilt

START = date(2026, 10, 1)
MOST_NIGHTS = 3
SETTLE = 300
LATEST = 240  # seconds after its change time until a record shows
_CONFIGURED = ("E110", "E120", "E130", "E140")
_CHANGES = ["insert", "touch", "touch", "touch", "same", "late", "edit", "drop", "move", "hide"]
_CHANGES += ["show", "delete"]
_NEVER_KILLED = 3  # attempts after which a night ends without a kill


class Killed(BaseException):
    """The process ends here: nothing catches it."""


class FragileArchive(PageArchive):
    """An archive in which the process may end just before a load, or just after it.

    Before one, while its pages are read and not stored, something else may happen.
    """

    kill: Callable[[str], bool] = staticmethod(lambda _moment: False)
    meanwhile: Callable[[], object] | None = None

    @contextmanager
    def keeping(self, load: RawLoad, schema: Sequence[SchemaField] = ()) -> Iterator[None]:
        """Keep the pages, unless the process is killed."""
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
        if self.kill("read"):
            raise Killed
        with super().keeping(load, schema):
            yield
        if self.kill("committed"):
            raise Killed


@dataclass
class Night:
    """What one extractor has: the bound of each entity is that of its first extraction."""

    extractor: Extractor
    bounds: dict[str, datetime]


class NightlyWorld:
    """A company, its warehouse, and what a seed makes of some nights."""

    def __init__(self, seed: int, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.random = random.Random(seed)
        kind = seed % 4
        first = datetime.combine(START, time(9), tzinfo=UTC)
        self.books = Books((INVOICE, LINE, LINE, COLOUR)[kind], first, reached=kind == 1)
        self.books.before_answer = self._while_reading
        self.what = ObjectSettings(
            name=self.books.object, history=self.random.choice(["all", "from_start"])
        )
        self.entities = list(_CONFIGURED[: self.random.choice([2, 2, 2, 2, 3, 4])])
        self.renamed: dict[str, str] = {}
        self.reading = Reading(
            settle_seconds=SETTLE, look_back_days=self.random.choice([0, 0, 1, 1, 2])
        )
        self.folder = folder
        self.warehouse = Warehouse(folder / "warehouse.duckdb")
        self.archive = FragileArchive(folder / "pages", timedelta(days=900), lambda: self.books.now)
        self.judge = Judge(
            self.books, self.warehouse, self.entities, START, SETTLE, self.what.takes_older
        )
        self.due: dict[str, set[date]] = {entity: set() for entity in self.entities}
        self.log: list[str] = []
        self._restless = 0.0
        self._next_key = 1
        self._runs = 0
        for _ in range(self.random.randrange(4, 14)):
            self._insert(first - timedelta(minutes=self.random.randrange(3000)))

    def run(self) -> str | None:
        """Live through all nights; return what is wrong first, or None."""
        for night in range(1, self.random.randrange(2, MOST_NIGHTS + 1) + 1):
            day = START + timedelta(days=night)
            self._day(day)
            verdict = self._night(day)
            if verdict is not None:
                return f"{verdict}\n" + "\n".join(self.log)
        return None

    # what happens to the books

    def _insert(self, changed: datetime) -> None:
        key = str(self._next_key)
        self._next_key += self.random.randrange(1, 30)
        entity = self.random.choice([*self.entities, *self.entities, None])
        record = self.books.put(key, entity, changed.replace(microsecond=0))
        for _ in range(self.random.choice([0, 1, 2, 3])):
            self._add_line(record)
        self.judge.changed(record, key)
        self.log.append(f"{self.books.now:%d %H:%M:%S} insert {key}")

    def _add_line(self, record: Record) -> None:
        record.lines[f"L{self._next_key}"] = 0
        self._next_key += 1

    def _change(self, what: str = "") -> None:
        records = self.books.records
        active = [
            key for key, each in sorted(records.items()) if each.entity in (*self.entities, None)
        ]
        what = what or self.random.choice(_CHANGES)
        now = self.books.now
        if what == "insert" or not active:
            self._insert(now)
            return
        key = self.random.choice(active)
        record = records[key]
        if what == "delete":
            del records[key]
        elif what == "same":  # the change time of another record
            times = [each.changed for each in records.values() if now - each.changed < _A_WHILE]
            at = max([record.changed, self.random.choice(times)]) if times else now
            self.books.touch(key, at if now - at < timedelta(seconds=LATEST) else now)
        elif what == "late":  # shows only now, as of a while ago
            at = now - timedelta(seconds=self.random.randrange(LATEST))
            self.books.touch(key, max(at, record.changed))
        elif what == "edit":
            self.books.edit(key)
            self._edit_lines(record)
        elif what == "drop" and record.lines:
            self.books.touch(key)
            record.lines.clear()
        elif what == "move" and record.entity is not None:
            self.books.touch(key)
            record.entity = self.random.choice(self.entities)
        elif what == "hide" and record.entity is None and not record.hidden:
            self.books.edit(key)
            record.hidden = {self.random.choice(self.entities)}
        elif what == "show" and record.hidden:
            self.books.touch(key)
            record.hidden = set()
        else:
            self.books.touch(key)
            self._edit_lines(record)
        self.judge.changed(records.get(key), key)
        self.log.append(f"{now:%d %H:%M:%S} {what} {key}")

    def _edit_lines(self, record: Record) -> None:
        for line in sorted(record.lines):
            chance = self.random.random()
            if chance < 0.4:
                record.lines[line] += 1
            elif chance < 0.6:
                del record.lines[line]
        if self.random.random() < 0.3:
            self._add_line(record)

    def _while_reading(self, entity: str, query: Mapping[str, object]) -> None:
        self.books.pass_time(self.random.randrange(1, 6))
        if self.random.random() < self._restless:
            self._change()
        if self._kill("answer"):
            raise Killed

    # what is done with them

    def _day(self, day: date) -> None:
        """Let the books change from nine in the morning before to two at night."""
        night = datetime.combine(day, time(2), tzinfo=UTC)
        moments = sorted(
            night - timedelta(seconds=self.random.randrange(60, 17 * 3600))
            for _ in range(self.random.randrange(2, 12))
        )
        # shortly before the run, some of them too late for it
        moments += [night - timedelta(hours=1), night - timedelta(minutes=5)]
        late = [
            night - timedelta(seconds=self.random.randrange(SETTLE))
            for _ in range(self.random.randrange(2, 6))
        ]
        noon = datetime.combine(day - timedelta(days=1), time(13), tzinfo=UTC)
        for moment in sorted(moments):
            if moment > noon > self.books.now and self.random.random() < 0.15:
                self.books.now = noon
                self._extract(self._new_night(), self.random.choice(self.entities), [noon.date()])
            self.books.now = max(self.books.now, moment)
            self._change()
        for moment in sorted(late):
            self.books.now = max(self.books.now, moment)
            self._change("touch")
        self.books.now = max(self.books.now, night)
        for days in self.due.values():
            days.add(day - timedelta(days=1))

    def _night(self, day: date) -> str | None:
        self._restless = self.random.choice([0, 0, 0, 0.05, 0.3])
        self._reorganize()
        trouble = self.random.choice([None, None, None, *self.entities])
        set_of = self.random.choice([self.books.refused, self.books.down])
        if trouble is not None:
            set_of.add(trouble)
        tonight = self._new_night()
        for entity in self.random.sample(self.entities, len(self.entities)):
            days = sorted(self.due[entity])
            if self.random.random() < 0.2:
                days = self.random.sample(days, len(days))
            if self._extract(tonight, entity, days):
                self.due[entity] -= set(days)
            if verdict := self.judge.now(f"reading of {entity}"):
                return verdict
        for _ in range(self.random.choice([0, 0, 1, 2])):
            first = START + timedelta(days=self.random.randrange((day - START).days))
            days = [first + timedelta(days=n) for n in range(self.random.randrange(1, 4))]
            asked = [each for each in days if each < day]
            self._extract(self._new_night(), self.random.choice(self.entities), asked)
            if verdict := self.judge.now("backfill"):
                return verdict
        if self.random.random() < 0.6:
            for entity in self.random.sample(self.entities, len(self.entities)):
                self._scan(entity)
                if verdict := self.judge.now(f"scan of {entity}"):
                    return verdict
        set_of.clear()
        self._restless = 0.0
        if self.random.random() < 0.15:
            again = Warehouse(self.folder / f"rebuilt-{day}.duckdb")
            self.log.append("rebuild")
            rebuild(again, self.archive.root)
            rebuild(self.warehouse, self.archive.root)
            if verdict := judge_rebuilt(self.judge, again):
                return verdict
        return self.judge.night()

    def _reorganize(self) -> None:
        """Rename an entity, or retire one, now and then."""
        chance = self.random.random()
        if chance < 0.1:
            was = self.random.choice(self.entities)
            now = f"{was}N"
            self.renamed = {k: now if v == was else v for k, v in self.renamed.items()}
            self.renamed[was] = now
            self.entities[self.entities.index(was)] = now
            self.due[now] = self.due.pop(was)
            for record in self.books.records.values():
                record.entity = now if record.entity == was else record.entity
                record.hidden = {now if each == was else each for each in record.hidden}
            self.judge.renamed(was, now)
            self.log.append(f"{was} is {now}")
        elif chance < 0.2 and len(self.entities) > 2:
            gone = self.entities.pop(self.random.randrange(len(self.entities)))
            self.judge.retired(gone)
            self.log.append(f"{gone} retired")

    def _new_night(self) -> Night:
        self._runs += 1
        intacct = Intacct(
            "demo",
            "https://books.test/ia/api/v1",
            ClientCredentials("id", "secret"),
            dict.fromkeys(self.entities, "user"),
            transport=self.books,
            concurrency=1,
            now=lambda: self.books.now,
        )
        extractor = Extractor(
            intacct,
            self.warehouse,
            start_date=START,
            run_id=f"run-{self._runs}",
            page_size=self.random.choice([2, 5, 50]),
            reading=self.reading,
            page_archive=self.archive,
            entities=tuple(self.entities),
            renamed=dict(self.renamed),
            now=lambda: self.books.now,
        )
        return Night(extractor, {})

    def _kill(self, moment: str) -> bool:
        chance = {"read": 0.5, "committed": 0.5, "answer": 0.1}[moment]
        return self._may_be_killed and self.random.random() < chance

    _may_be_killed = False

    def _extract(self, night: Night, entity: str, days: Sequence[date]) -> bool:
        """Extract, again after a kill, and return whether it was done."""
        self.archive.kill = self._kill
        for attempt in range(_NEVER_KILLED + 1):
            self._may_be_killed = attempt < _NEVER_KILLED and self.random.random() < 0.1
            bound = night.bounds.setdefault(entity, self.books.now - timedelta(seconds=SETTLE))
            reading = self.judge.reads(entity, days, self.reading.look_back_days, bound)
            about = f"{self.books.now:%d %H:%M:%S} {entity} reads {[f'{d:%d}' for d in days]}"
            if self.random.random() < 0.1:
                self.archive.meanwhile = partial(self._overtake, entity, list(days))
            try:
                night.extractor.extract(self.what, entity, days)
            except Killed:
                self.judge.stored = True  # killed when all was stored, maybe
                self.log.append(f"{about}: killed")
                night = self._new_night()
                continue
            except IntacctError as error:
                self.log.append(f"{about}: {type(error).__name__} {error}")
                return False
            finally:
                self._may_be_killed = False
                self.archive.meanwhile = None
            self.judge.has_read(reading)
            self.log.append(about)
            return True
        return False

    def _overtake(self, entity: str, days: list[date]) -> None:
        """Let the books change, and another run read the same, before a slow one is stored."""
        began, may_be_killed = self.judge.began, self._may_be_killed
        self.books.pass_time(60)
        for what in self.random.sample(["edit", "touch", "delete", "", ""], 2):
            self._change(what)
        self.books.pass_time(self.random.choice([1, 600]))
        self.log.append("a slow run is overtaken by:")
        if self._extract(self._new_night(), entity, days) and self.random.random() < 0.3:
            self._scan(entity)
        self.judge.began, self._may_be_killed = began, may_be_killed

    def _scan(self, entity: str) -> None:
        began = self.books.now
        try:
            done = self._new_night().extractor.delete_scan(self.what, entity)
        except IntacctError as error:
            self.log.append(f"scan of {entity}: {type(error).__name__} {error}")
            return
        self.judge.has_scanned(entity, began)
        self.log.append(
            f"{began:%d %H:%M:%S} scan of {entity}: deleted {done.deleted},"
            f" out of sight {done.out_of_sight}, fetched {done.fetched}"
        )


_A_WHILE = timedelta(seconds=LATEST)
