"""Timesheets: a week of one employee, with a line a day."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from intacct_sandbox.company import ENTITIES
from intacct_sandbox.control.clock import LAST_DAY

from .masters import Masters
from .writer import CALENDAR, Writer, touched

_WORK = ("Client work", "Internal project", "Support rota", "Training", "Administration")


def write_timesheets(writer: Writer, random: Random, masters: Masters) -> None:
    """Write a timesheet for every employee and every week that begins within the 60 days."""
    for monday in (day for day in CALENDAR if day.weekday() == 0):
        sunday = monday + timedelta(days=6)
        handed_in = min(sunday - timedelta(days=2), LAST_DAY)
        state = "approved" if (LAST_DAY - sunday).days > 7 else "submitted"
        for entity in ENTITIES.values():
            for employee in masters.employees[entity.key]:
                if random.random() < 0.06:
                    continue
                made, changed = touched(random, handed_in)
                audit = {"entity": entity.key, "made": made, "changed": changed, "by": "1"}
                key = writer.add(
                    "time/timesheet",
                    {
                        "beginDate": monday.isoformat(),
                        "endDate": sunday.isoformat(),
                        "postingDate": sunday.isoformat(),
                        "description": f"Week of {monday.isoformat()}",
                        "state": state,
                        "employee.key": employee,
                    },
                    **audit,
                )
                department = writer.tables["company-config/employee"].rows[employee][
                    "department.key"
                ]
                for weekday in range(min(5, (LAST_DAY - monday).days + 1)):
                    writer.add(
                        "time/timesheet-line",
                        {
                            "timesheet.key": key,
                            "lineNumber": weekday + 1,
                            "entryDate": (monday + timedelta(days=weekday)).isoformat(),
                            "quantity": random.choice((6, 7, 7.5, 8, 8, 8)),
                            "description": random.choice(_WORK),
                            "state": state,
                            "timeType.key": "1",
                            "isBillable": random.random() < 0.6,
                            "dimensions.employee.key": employee,
                            "dimensions.location.key": entity.key,
                            "dimensions.department.key": department,
                        },
                        **audit,
                    )
