"""How far a run is, and when it may be done: in its log, and as a tag on the list of runs."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

#: What the runs page shows of a run that is under way, and of one that is over.
PROGRESS_TAG = "intacct/progress"
#: Between two changes of the tag, and two lines about a walk: each is a write to Dagster's storage.
SECONDS = 5.0


@dataclass
class _Walk:
    """Rows of an object that are being read: how many there were at first, are now, and should be
    in the end."""

    began: float
    first: int
    rows: int
    expected: int
    told: float

    def tell(self, name: str, now: float) -> str:
        rate = (self.rows - self.first) / max(now - self.began, 0.001)
        told = f"{name}: {self.rows:,} of {self.expected:,} rows"
        if rate < 1:
            return told
        left = max(0, self.expected - self.rows) / rate
        return f"{told}, {rate:,.0f} rows/s, about {_duration(left)} left"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


class Progress:
    """Counts the parts of a run, one for each object and entity, and tells how many are done.

    What is left is estimated from the parts so far, as if all were alike: they are not, so it is
    told in whole minutes. A run of one day tells nothing of its parts: they are over in seconds.
    Of a walk that takes longer the rows are told, which Intacct has counted.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        parts: int,
        days: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._parts = parts
        self._days = days
        self._clock = clock
        self._began = clock()
        self._done = 0
        self._tagged = -SECONDS
        self._parts_told = ""
        self._walks: dict[str, _Walk] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Callable[[int, int], None]:
        """What a walk tells its rows to, on whatever thread it is."""

        def told(rows: int, expected: int) -> None:
            now = self._clock()
            with self._lock:
                walk = self._walks.setdefault(name, _Walk(now, rows, rows, expected, now))
                if rows < walk.rows:  # another attempt, or another range of days
                    walk.began, walk.first = now, rows
                walk.rows, walk.expected = rows, expected

        return told

    def look(self) -> None:
        """Tells of the walks that are under way, each every few seconds at most."""
        now = self._clock()
        with self._lock:
            due = {
                name: walk
                for name, walk in self._walks.items()
                if now - walk.told >= SECONDS and walk.rows < walk.expected
            }
            told = []
            for name, walk in due.items():
                walk.told = now
                told.append(walk.tell(name, now))
        for each in told:
            self._context.log.info(each)
        if told:
            self._tag("; ".join([self._parts_told, *told]).removeprefix("; "))

    def one_more(self, name: str = "") -> None:
        """A part, the walk `name` in it, is over, whether it failed or not."""
        with self._lock:
            self._walks.pop(name, None)
        self._done += 1
        if self._days < 2:
            return
        told = f"{self._done} of {self._parts} parts of {self._days:,} days"
        elapsed = self._clock() - self._began
        if self._done < self._parts:
            left = elapsed / self._done * (self._parts - self._done)
            told += f", about {left / 60:.0f} min left" if left >= 60 else ", under a minute left"
        else:
            told += f" in {elapsed:.0f} s"
        self._context.log.info(told)
        self._parts_told = told
        if self._done < self._parts and elapsed - self._tagged < SECONDS:
            return
        self._tagged = elapsed
        self._tag(told)

    def _tag(self, told: str) -> None:
        self._context.instance.add_run_tags(self._context.run.run_id, {PROGRESS_TAG: told})
