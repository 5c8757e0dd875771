"""Items, warehouses, grants, plans and projects."""

from __future__ import annotations

from datetime import date, timedelta

from intacct_sandbox.company import ENTITIES
from intacct_sandbox.control.clock import FIRST_DAY, LAST_DAY
from intacct_sandbox.seed.generator.masters import Masters
from intacct_sandbox.seed.generator.names import SERVICES, person
from intacct_sandbox.seed.generator.writer import (
    money,
)

from .shared_records import SharedRecords


def write_items_and_projects(shared: SharedRecords, masters: Masters) -> None:
    """Write items, warehouses, grants, plans, and projects with their tasks."""
    items = _write_items(shared)
    _write_warehouses_and_grants(shared)
    _write_plans_and_cost_types(shared, items)
    for number in range(1, 41):
        _write_project(shared, masters, items, number)


def _write_items(shared: SharedRecords) -> list[str]:
    random = shared.random
    return shared.all(
        "inventory-control/item",
        (
            {
                "id": f"ITM-{100 + number}",
                "name": what,
                "itemType": "nonInventory",
                "basePrice": f"{random.randrange(50, 4000)}.0000000000",
                "unitOfMeasure": "Each",
            }
            for number, what in enumerate(SERVICES, start=1)
        ),
    )


def _write_warehouses_and_grants(shared: SharedRecords) -> None:
    random = shared.random
    shared.all(
        "inventory-control/warehouse",
        (
            {
                "id": f"WH-{entity.id}",
                "name": f"{entity.name} warehouse",
                "location.key": entity.key,
            }
            for entity in ENTITIES.values()
        ),
    )
    shared.all(
        "platform-apps/nsp::grant",
        (
            {
                "id": f"G-{number:03d}",
                "name": f"{name} grant",
                "nsp::FUNDER": name,
                "nsp::AWARDED": money(random.randrange(10**6, 10**8)),
                "nsp::ENDS_ON": date(2027, number, 1).isoformat(),
            }
            for number, name in enumerate(
                (
                    "Alder Trust",
                    "Civic Fund",
                    "Harbour Foundation",
                    "Open Science",
                    "Skills Council",
                ),
                start=1,
            )
        ),
    )


def _write_plans_and_cost_types(shared: SharedRecords, items: list[str]) -> None:
    shared.all(
        "platform-apps/nsp::service_plan",
        (
            {
                "id": id_,
                "name": name,
                "nsp::RESPONSE_HOURS": hours,
                "nsp::MONTHLY_FEE": fee,
                "nsp::r10021.key": items[number],
            }
            for number, (id_, name, hours, fee) in enumerate(
                (
                    ("GOLD", "Gold plan", 2, "900.00"),
                    ("SILVER", "Silver plan", 8, "450.00"),
                    ("BRONZE", "Bronze plan", 24, "150.00"),
                )
            )
        ),
    )
    shared.all(
        "construction/cost-type",
        (
            {"id": id_, "name": name}
            for id_, name in (
                ("LAB", "Labour"),
                ("MAT", "Material"),
                ("SUB", "Subcontract"),
                ("EQP", "Equipment"),
            )
        ),
    )


def _write_project(shared: SharedRecords, masters: Masters, items: list[str], number: int) -> None:
    random = shared.random
    entity = random.choice(list(masters.customers))
    begin = FIRST_DAY - timedelta(days=random.randrange(10, 400))
    project = shared.add(
        "projects/project",
        {
            "id": f"PRJ-{number:04d}",
            "name": f"{random.choice(SERVICES)} for {person(random).split()[1]}",
            "category": random.choice(("Contract", "Internal", "Capitalized")),
            "startDate": begin.isoformat(),
            "endDate": (begin + timedelta(days=random.randrange(90, 700))).isoformat(),
            "budgetAmount": money(random.randrange(10**6, 10**8)),
            "billingType": random.choice(("timeAndMaterial", "fixedFee")),
            "projectStatus": random.choice(("In progress", "Planned", "Completed")),
            "customer.key": random.choice(masters.customers[entity]),
            "location.key": entity,
            "department.key": masters.departments[random.choice(("310", "320"))],
            "nsp::RISK": random.choice(("Low", "Medium", "High")),
            "nsp::STEERING_DATE": (LAST_DAY - timedelta(days=number)).isoformat(),
        },
    )
    shared.add(
        "projects/project-resource",
        {
            "project.key": project,
            "employee.key": random.choice(masters.employees[entity]),
            "startDate": begin.isoformat(),
            "billingRate": money(random.randrange(9_000, 25_000)),
        },
    )
    for step, name in enumerate(("Design", "Build", "Handover"), start=1):
        shared.add(
            "projects/task",
            {
                "id": f"T-{number:04d}-{step}",
                "name": name,
                "project.key": project,
                "plannedStartDate": begin.isoformat(),
                "plannedDuration": 20 * step,
                "taskStatus": random.choice(("notStarted", "inProgress", "completed")),
                "item.key": random.choice(items),
            },
        )
