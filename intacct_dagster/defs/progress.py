"""How far a run is, and when it may be done: in its log, and as a tag on the list of runs."""

import time
from collections.abc import Callable

import dagster as dg

#: What the runs page shows of a run that is under way, and of one that is over.
PROGRESS_TAG = "intacct/progress"
#: Between two changes of the tag: each is a write to Dagster's storage.
_SECONDS = 5.0


class Progress:
    """Counts the parts of a run, one for each object and entity, and tells how many are done.

    What is left is estimated from the parts so far, as if all were alike: they are not, so it is
    told in whole minutes. A run of one day tells nothing: it is over in seconds.
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
        self._tagged = -_SECONDS

    def one_more(self) -> None:
        """A part is over, whether it failed or not."""
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
        if self._done < self._parts and elapsed - self._tagged < _SECONDS:
            return
        self._tagged = elapsed
        self._context.instance.add_run_tags(self._context.run.run_id, {PROGRESS_TAG: told})
