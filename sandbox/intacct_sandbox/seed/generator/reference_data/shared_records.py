"""Write records of the top level."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from intacct_sandbox.control.clock import FIRST_DAY, LAST_DAY
from intacct_sandbox.objects.tables import Row
from intacct_sandbox.seed.generator.writer import (
    Writer,
    moment,
)


@dataclass
class SharedRecords:
    """Write records of the top level, each made on some day before the 60 and perhaps changed."""

    writer: Writer
    random: Random

    def add(self, object_: str, values: Row, key: str | None = None) -> str:
        made_on = FIRST_DAY - timedelta(days=self.random.randrange(1, 700))
        made = moment(self.random, made_on)
        changed = made
        if self.random.random() < 0.3:
            days = (LAST_DAY - FIRST_DAY).days + 1
            changed_on = FIRST_DAY + timedelta(days=self.random.randrange(days))
            changed = moment(self.random, changed_on)
        return self.writer.add(
            object_, values, entity=None, made=made, changed=changed, by="1", key=key
        )

    def all(self, object_: str, rows: Iterable[Row]) -> list[str]:
        return [self.add(object_, row) for row in rows]

    def lines(self, object_: str, owner: str, key: str, rows: Iterable[Row]) -> None:
        for number, row in enumerate(rows, start=1):
            self.add(object_, {f"{owner}.key": key, "lineNumber": number, **row})
