"""Permissions, roles and attachments."""

from __future__ import annotations

import binascii

from intacct_sandbox.company import USERS

from .shared_records import SharedRecords

_PERMISSIONS = tuple(
    (module, what)
    for module, subjects in {
        "Accounts Payable": ("Bills", "Vendors", "Payments", "Adjustments"),
        "Accounts Receivable": ("Invoices", "Customers", "Payments", "Adjustments"),
        "General Ledger": ("Accounts", "Journal entries", "Reporting periods", "Budgets"),
        "Cash Management": ("Bank accounts", "Credit card transactions"),
        "Company": ("Entities", "Users", "Roles", "Attachments"),
        "Time and Expenses": ("Timesheets", "Expense reports"),
    }.items()
    for what in subjects
)


_RIGHTS = ("list", "readonly", "add", "modify", "delete")


def write_rights_and_attachments(shared: SharedRecords) -> None:
    """Write permissions, roles, attachments, a preference and a user's view."""
    _write_roles(shared)
    _write_attachments(shared)
    _write_preference_and_view(shared)


def _write_roles(shared: SharedRecords) -> None:
    permissions = shared.all(
        "company-config/permission",
        (
            {
                "id": f"{module}: {what}",
                "name": what,
                "category": module,
                "module": module,
                "policyType": "standard",
                "accessRights": list(_RIGHTS),
            }
            for module, what in _PERMISSIONS
        ),
    )
    roles = {}
    for id_, rights in (
        ("Integration", _RIGHTS[:4]),
        ("Accountant", _RIGHTS),
        ("Auditor", _RIGHTS[:2]),
    ):
        roles[id_] = key = shared.add(
            "company-config/role", {"id": id_, "description": f"{id_} role"}
        )
        shared.lines(
            "company-config/role-permission-assignment",
            "role",
            key,
            (
                {"permission.key": permission, "accessRights": list(rights)}
                for permission in permissions
            ),
        )
    shared.all(
        "company-config/role-user-map",
        ({"user.key": user.key, "role.key": roles["Integration"]} for user in USERS.values()),
    )


def _write_attachments(shared: SharedRecords) -> None:
    folders = shared.all(
        "company-config/folder",
        ({"id": id_, "description": f"{id_} papers"} for id_ in ("Bills", "Invoices", "Expenses")),
    )
    for number in range(1, 25):
        text = f"Scan {number}\nMade for the demo company.\n"
        key = shared.add(
            "company-config/attachment",
            {
                "id": f"ATT-{number:06d}",
                "name": f"Scan {number}",
                "folder.key": folders[number % 3],
            },
        )
        data = binascii.b2a_base64(text.encode(), newline=False).decode()
        shared.lines(
            "company-config/attachment-file",
            "attachment",
            key,
            [{"name": f"scan-{number}.txt", "size": len(text), "data": data}],
        )


def _write_preference_and_view(shared: SharedRecords) -> None:
    shared.add("company-config/multi-entity-preference/setup", {"id": "1", "rootCurrency": "USD"})
    shared.add(
        "core/user-view",
        {
            "name": "Active vendors",
            "query.object": "accounts-payable/vendor",
            "query.fields": ["id", "name", "status", "href"],
            "query.filters": [{"$eq": {"status": "active"}}],
            "query.orderBy": [{"id": "asc"}],
        },
    )
