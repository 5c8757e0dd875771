"""One object of one entity, over days, from Intacct into the warehouse. Dagster is not needed.

Walk, fence, load: the walk writes pages to a spool and proves that they are complete; only then is
the warehouse opened, and it is held only while the pages are loaded.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path

from intacct_dagster.config import ObjectSettings
from intacct_dagster.intacct import (
    Intacct,
    IntacctClient,
    ModelField,
    ObjectModel,
    RequestRefused,
    Window,
)
from intacct_dagster.warehouse import Column, RawLoad, WalkProof, Warehouse, column_for

#: What every row is told apart, dated and fenced by; read whether configured or not.
ALWAYS_READ = ("key", "audit.modifiedDateTime", "entity.id")


@dataclass(frozen=True)
class Extracted:
    """What one extraction did. `rows_by_day` has an entry for every day that was asked for."""

    object: str
    entity: str
    rows_by_day: Mapping[date, int]
    distinct_keys: int
    pages: int
    requests: int
    seconds_walking: float
    seconds_loading: float
    columns: tuple[Column, ...]

    @property
    def rows(self) -> int:
        """Rows in all days together."""
        return sum(self.rows_by_day.values())


class Extractor:
    """Extracts objects of one company. Safe to use from several threads at once.

    `start_date` is the first partition: the day into which objects that take older rows also put
    what was last changed before it. `now` gives aware UTC times.
    """

    def __init__(
        self,
        intacct: Intacct,
        warehouse: Warehouse,
        *,
        start_date: date,
        run_id: str,
        page_size: int = 4000,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._intacct = intacct
        self._warehouse = warehouse
        self._start_date = start_date
        self._run_id = run_id
        self._page_size = page_size
        self._now = now
        self._models: dict[str, ObjectModel] = {}
        self._models_lock = threading.Lock()
        # Within this process loads take turns; between processes DuckDB's own lock sees to it.
        self._load_lock = threading.Lock()

    def extract(self, what: ObjectSettings, entity: str, days: Iterable[date]) -> Extracted:
        """Walks and loads `what` of `entity` for UTC days of `audit.modifiedDateTime`.

        Adjacent days are one walk. Each day's partition is replaced as a whole, also by nothing;
        a failure leaves the partitions of its range as they were. Raises IntacctError and
        WarehouseError.
        """
        client = self._intacct.entity(entity)
        columns = table_columns(self._model(client, what.name), what.fields)
        ranges = ranges_of_days(days)
        done = [self._extract_range(client, what, entity, each, columns) for each in ranges]
        return Extracted(
            object=what.name,
            entity=entity,
            rows_by_day={day: rows for each in done for day, rows in each.rows_by_day.items()},
            distinct_keys=sum(each.distinct_keys for each in done),
            pages=sum(each.pages for each in done),
            requests=sum(each.requests for each in done),
            seconds_walking=sum(each.seconds_walking for each in done),
            seconds_loading=sum(each.seconds_loading for each in done),
            columns=columns,
        )

    def _extract_range(
        self,
        client: IntacctClient,
        what: ObjectSettings,
        entity: str,
        days: Sequence[date],
        columns: tuple[Column, ...],
    ) -> Extracted:
        takes_older = what.takes_older and days[0] <= self._start_date
        window = Window(
            since=None if takes_older else _midnight(days[0]),
            until=_midnight(days[-1] + timedelta(days=1)),
        )
        extracted_at = self._now()
        started = time.monotonic()
        # Beside the warehouse: the same disk, which is known to have room for the data.
        self._warehouse.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".spool-", dir=self._warehouse.path.parent
        ) as spool:
            walked = client.walk(
                what.name,
                [column.path for column in columns],
                window,
                into=Path(spool),
                page_size=self._page_size,
            )
            walking = time.monotonic() - started
            with self._load_lock:
                loaded = self._warehouse.load(
                    RawLoad(
                        object=what.name,
                        columns=columns,
                        entity=entity,
                        days=days,
                        files=walked.files,
                        run_id=self._run_id,
                        extracted_at=extracted_at,
                        takes_older=takes_older,
                        proof=WalkProof(
                            distinct_keys=walked.proof.distinct_keys,
                            total_count=walked.proof.total_count,
                            requests=walked.proof.requests,
                        ),
                    )
                )
        return Extracted(
            object=what.name,
            entity=entity,
            rows_by_day=loaded.rows_by_day,
            distinct_keys=walked.proof.distinct_keys,
            pages=walked.proof.pages,
            requests=walked.proof.requests,
            seconds_walking=walking,
            seconds_loading=loaded.seconds_locked,
            columns=columns,
        )

    def _model(self, client: IntacctClient, object: str) -> ObjectModel:
        with self._models_lock:
            if object not in self._models:
                self._models[object] = client.model(object)
            return self._models[object]


def ranges_of_days(days: Iterable[date]) -> list[list[date]]:
    """Days in order, those that touch together: each inner list is one walk."""
    ranges: list[list[date]] = []
    for day in sorted(set(days)):
        if ranges and day - ranges[-1][-1] == timedelta(days=1):
            ranges[-1].append(day)
        else:
            ranges.append([day])
    return ranges


def table_columns(model: ObjectModel, fields: Sequence[str] | None) -> tuple[Column, ...]:
    """The columns of an object's table: all that the model offers, or only `fields`.

    Raises RequestRefused for configured fields that the object does not have.
    """
    offered = {field.path: field for field in model.fields}
    missing = [path for path in ALWAYS_READ if path not in offered]
    if missing:
        raise RequestRefused(
            f"{model.name} has no {', '.join(missing)}, so its rows cannot be dated and told apart",
            object=model.name,
            remedy="take it out of `objects` in intacct.yaml: it cannot be kept by days",
        )
    if fields is None:
        chosen = list(offered.values())
    else:
        unknown = sorted(set(fields) - set(offered))
        if unknown:
            raise RequestRefused(
                f"{model.name} has no field {', '.join(unknown)} that can be read",
                object=model.name,
                remedy="correct `fields` in intacct.yaml; the object's model lists what it has",
            )
        wanted = set(fields) | set(ALWAYS_READ)
        chosen = [field for field in offered.values() if field.path in wanted]
    return tuple(
        column_for(field.path, field.type, field.format, _comment(field)) for field in chosen
    )


def _comment(field: ModelField) -> str:
    allowed = [str(value) for value in field.enum or () if value not in (None, "")]
    one_of = f": one of {', '.join(allowed)}" if allowed else ""
    return f"{field.description or field.path}{one_of}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time_of_day(), tzinfo=UTC)
