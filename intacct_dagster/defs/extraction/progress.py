"""Report how far a run is and when it may be done: in its log, and as a tag of the run."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

#: What the runs page shows of a run that is under way, and of one that is over.
PROGRESS_TAG = "intacct/progress"
#: Seconds between two changes of the tag, and between two lines about a read: each is a write to
#: Dagster's storage.
SECONDS = 5.0


class ReadStopped(Exception):
    """The run was cancelled, so a read ends before its next page."""


@dataclass
class _Reading:
    """An object that is being read.

    Attributes:
        first: The number of rows at the first report.
        rows: The number of rows now.
        expected: The number of rows at the end, as Intacct counts.
        reported: When it was last reported, by the clock of the progress.
    """

    began: float
    first: int
    rows: int
    expected: int
    reported: float

    def describe(self, name: str, now: float) -> str:
        rate = (self.rows - self.first) / max(now - self.began, 0.001)
        text = f"{name}: {self.rows:,} of {self.expected:,} rows"
        if rate < 1:
            return text
        left = max(0, self.expected - self.rows) / rate
        return f"{text}, {rate:,.0f} rows/s, about {_duration(left)} left"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


class Progress:
    """Counts the parts of a run, one for each object and entity, and reports how many are done.

    The time left is estimated from the parts so far, as if all were alike. They are not, so it is
    given in whole minutes. A run of one day reports no parts, because they are over in seconds. Of
    an object that takes longer the rows are reported.
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
        self._parts_text = ""
        self._readings: dict[str, _Reading] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """End all reads at their next page: the callbacks of `of` raise ReadStopped from now on."""
        self._stopped = True

    def of(self, name: str) -> Callable[[int, int], None]:
        """Return the callback that receives (rows, expected) of an object, on any thread."""

        def on_progress(rows: int, expected: int) -> None:
            if self._stopped:
                raise ReadStopped(name)
            now = self._clock()
            with self._lock:
                reading = self._readings.setdefault(name, _Reading(now, rows, rows, expected, now))
                if rows < reading.rows:  # another attempt, or another range of days
                    reading.began, reading.first = now, rows
                reading.rows, reading.expected = rows, expected

        return on_progress

    def look(self) -> None:
        """Report the objects that are being read, each at most every few seconds."""
        now = self._clock()
        with self._lock:
            due = {
                name: each
                for name, each in self._readings.items()
                if now - each.reported >= SECONDS and each.rows < each.expected
            }
            lines = []
            for name, reading in due.items():
                reading.reported = now
                lines.append(reading.describe(name, now))
        for line in lines:
            self._context.log.info(line)
        if lines:
            self._tag("; ".join([self._parts_text, *lines]).removeprefix("; "))

    def one_more(self, name: str = "") -> None:
        """Count a part as over, whether it failed or not; `name` is its object."""
        with self._lock:
            self._readings.pop(name, None)
        self._done += 1
        if self._days < 2:
            return
        text = f"{self._done} of {self._parts} parts of {self._days:,} days"
        elapsed = self._clock() - self._began
        if self._done < self._parts:
            left = elapsed / self._done * (self._parts - self._done)
            text += f", about {left / 60:.0f} min left" if left >= 60 else ", under a minute left"
        else:
            text += f" in {elapsed:.0f} s"
        self._context.log.info(text)
        self._parts_text = text
        if self._done < self._parts and elapsed - self._tagged < SECONDS:
            return
        self._tagged = elapsed
        self._tag(text)

    def _tag(self, text: str) -> None:
        self._context.instance.add_run_tags(self._context.run.run_id, {PROGRESS_TAG: text})
