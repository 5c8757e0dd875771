"""Contacts of parties, users and employees."""

from __future__ import annotations

from collections.abc import Callable

from intacct_sandbox.company import USERS
from intacct_sandbox.objects.catalogue import Json
from intacct_sandbox.seed.generator.masters import USER_CONTACTS, VENDOR_CONTACTS

from .shared_records import SharedRecords

_CITIES = {
    "E110": (("New York", "NY", "10001", "US"), ("Chicago", "IL", "60601", "US")),
    "E120": (("Toronto", "ON", "M5H 2N2", "CA"), ("Vancouver", "BC", "V6B 1A1", "CA")),
    "E130": (("London", "", "EC1A 1BB", "GB"), ("Manchester", "", "M1 1AE", "GB")),
    "E140": (("Sydney", "NSW", "2000", "AU"), ("Melbourne", "VIC", "3000", "AU")),
}


_STREETS = ("High Street", "Market Street", "Station Road", "Queen Street", "Mill Lane", "Park Row")


def write_contacts(shared: SharedRecords) -> None:
    """Write a contact of every customer, vendor, user and employee."""
    tables, random = shared.writer.tables, shared.random
    cities = list(_CITIES)

    def contact(key: str, id_: str, home: str, **values: Json) -> None:
        city, state, code, country = random.choice(_CITIES[home])
        shared.add(
            "company-config/contact",
            {
                "id": id_,
                "mailingAddress.addressLine1": f"{random.randrange(1, 400)} "
                f"{random.choice(_STREETS)}",
                "mailingAddress.city": city,
                "mailingAddress.state": state or None,
                "mailingAddress.postCode": code,
                "mailingAddress.isoCountryCode": country,
                "phone1": f"+{random.randrange(10**9, 10**10)}",
                **values,
            },
            key=key,
        )

    for object_, offset in (
        ("accounts-receivable/customer", 0),
        ("accounts-payable/vendor", VENDOR_CONTACTS),
    ):
        for row in tables[object_].rows.values():
            name = str(row["name"])
            home = cities[int(str(row.get("entity.key") or random.randrange(1, 5))) - 1]
            id_ = f"{name} ({row['id']})" if offset else name
            mail = "".join(one for one in name.lower() if one.isalnum())
            contact(
                str(row["contacts.default.key"]),
                id_,
                home,
                printAs=name,
                companyName=name,
                email1=f"accounts@{mail}.example",
            )
    _write_people(shared, contact)


def _write_people(shared: SharedRecords, contact: Callable[..., None]) -> None:
    """Write a contact of every user and employee."""
    for user in USERS.values():
        contact(
            str(USER_CONTACTS + int(user.key)),
            user.name,
            "E110",
            printAs=user.name,
            email1=f"{user.id}@demo.example",
        )
    for row in shared.writer.tables["company-config/employee"].rows.values():
        id_ = str(row["primaryContact.id"])
        first, last = id_.split(" (", 1)[0].split(" ", 1)
        home = list(_CITIES)[int(str(row["entity.key"])) - 1]
        contact(
            str(row["primaryContact.key"]),
            id_,
            home,
            printAs=f"{first} {last}",
            firstName=first,
            lastName=last,
            email1=f"{first}.{last}@demo.example".lower(),
        )
