"""A company of many entities: the demo company's four, with all that they have, and further ones
with places, users, customers and vendors of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from random import Random

from intacct_sandbox.company import DEMO, Company, LegalEntity, User
from intacct_sandbox.control.clock import LAST_DAY
from intacct_sandbox.objects.catalogue import load_catalogue
from intacct_sandbox.objects.tables import Row, Tables
from intacct_sandbox.seed.size import Size

from .chart_of_accounts import JOURNALS
from .ledger import PATTERNS, Pattern
from .names import firms
from .writer import FIRST_PERIOD_YEAR, Writer, moment, period_key

_FIRST_KEY = 1001
"""Of the further entities, places and users: beyond all keys of the demo company."""
_CUSTOMERS, _VENDORS = 12, 6  # of each further entity
_CURRENCIES = ("USD", "CAD", "GBP", "AUD", "EUR", "NZD", "CHF")
_CURRENCY_KEYS = {"USD": "1", "CAD": "2", "GBP": "3", "AUD": "4", "EUR": "5", "NZD": "6"}
_COUNTRIES = {
    "USD": "United States",
    "CAD": "Canada",
    "GBP": "United Kingdom",
    "AUD": "Australia",
    "EUR": "Ireland",
    "NZD": "New Zealand",
    "CHF": "Switzerland",
}
_OPEN_FROM = date(2026, 8, 1)


@dataclass(frozen=True)
class EntityKeys:
    """What the entries of one entity refer to, as keys."""

    entity: LegalEntity
    user: str
    places: Sequence[str]
    customers: Sequence[str]
    vendors: Sequence[str]


@dataclass(frozen=True)
class LargeCompany:
    """A company of many entities, and what its ledger is written from."""

    size: Size
    company: Company
    first_day: date
    entities: Sequence[EntityKeys]
    accounts: Mapping[str, str]
    """Keys by id, as the others below."""
    departments: Mapping[str, str]
    journals: Mapping[str, str]
    patterns: Sequence[Pattern] = field(default=PATTERNS)


def company_of(size: Size, seed: int) -> Company:
    """Return the entities and users: E110 to E140 with their users, then E1001 with the user
    `e1001`, and so on. The user `top` may enter all."""
    random = Random(f"{seed}:large company")  # noqa: S311 - data, not secrets
    entities, users = dict(DEMO.entities), dict(DEMO.users)
    further = size.entities - len(entities)
    for key, name in enumerate(_houses(random, further), start=_FIRST_KEY):
        currency = random.choice(_CURRENCIES)
        id_ = f"E{key}"
        entities[id_] = LegalEntity(
            id_,
            str(key),
            name,
            currency,
            _COUNTRIES[currency],
            f"{random.randrange(10**9):09d}",
            _OPEN_FROM,
            ((f"{key}-1", f"{name}, first floor"), (f"{key}-2", f"{name}, warehouse")),
        )
        user = f"e{key}"
        users[user] = User(user, str(key), f"Integration, {name}", frozenset({id_}))
    return Company(entities, users)


def _houses(random: Random, count: int) -> list[str]:
    names = firms(random, count)
    return [names[number % len(names)] for number in range(count)]


def write_large_company(tables: Tables, size: Size, seed: int) -> LargeCompany:
    """Add the further entities with their masters to the demo company's tables."""
    random = Random(f"{seed}:large company masters")  # noqa: S311 - data, not secrets
    company = company_of(size, seed)
    writer = Writer(load_catalogue(), tables)
    further = [one for id_, one in company.entities.items() if id_ not in DEMO.entities]
    for entity in further:
        _write_entity(writer, entity)
    for entity in further:
        _write_places_and_parties(writer, random, entity)
    first_day = _years_before(LAST_DAY, size.years)
    _write_periods(writer, first_day)
    tables.company = company
    return LargeCompany(
        size=size,
        company=company,
        first_day=first_day,
        entities=[_entity_keys(tables, one, company) for one in company.entities.values()],
        accounts=_ids(tables, "general-ledger/account"),
        departments=_ids(tables, "company-config/department"),
        journals={
            id_: key
            for id_, key in _ids(tables, "general-ledger/journal").items()
            if id_ in dict(JOURNALS)
        },
    )


def _years_before(day: date, years: int) -> date:
    return date(day.year - years, day.month, day.day + 1)


def _ids(tables: Tables, object_: str) -> dict[str, str]:
    return {str(row["id"]): key for key, row in tables[object_].rows.items()}


def _adder(writer: Writer, entity: str | None, day: date) -> Callable[..., str]:
    """Adds records of an entity that were made on a day and never changed."""
    made = moment(Random(f"{entity}:{day}"), day)  # noqa: S311 - data, not secrets
    return partial(writer.add, entity=entity, made=made, changed=made, by="1")


def _write_entity(writer: Writer, entity: LegalEntity) -> None:
    add = partial(_adder(writer, None, date(2019, 1, 2)), key=entity.key)
    add(
        "company-config/entity",
        {
            "id": entity.id,
            "name": entity.name,
            "federalId": entity.federal_id,
            "baseCurrency.key": _CURRENCY_KEYS.get(entity.currency, "8"),
            "operatingCountry": entity.country,
            "defaultCountryForAddresses": entity.country,
            "openBooksStartDate": entity.open_from.isoformat(),
            "startDate": "2019-01-01",
        },
    )
    add(
        "company-config/location",
        {
            "id": entity.id,
            "name": entity.name,
            "locationType": "entity",
            "baseCurrency": entity.currency,
            "startDate": "2019-01-01",
        },
    )
    add(
        "company-config/user",
        {
            "id": f"e{entity.key}",
            "userName": f"Integration, {entity.name}",
            "accountEmail": f"e{entity.key}@demo.example",
            "adminPrivileges": "off",
            "entityAccess.allowUnrestrictedAccess": False,
            "entityAccess.allowTopLevelAccess": False,
        },
    )


def _write_places_and_parties(writer: Writer, random: Random, entity: LegalEntity) -> None:
    add = _adder(writer, entity.key, date(2022, 6, 1))
    for id_, name in entity.places:
        place: Row = {"id": id_, "name": name, "parent.key": entity.key}
        place["baseCurrency"] = entity.currency
        add("company-config/location", place)
    for object_, letter, count in (
        ("accounts-receivable/customer", "C", _CUSTOMERS),
        ("accounts-payable/vendor", "V", _VENDORS),
    ):
        for number, name in enumerate(firms(random, count), start=1):
            values: Row = {
                "id": f"{letter}-{entity.key}-{number:02d}",
                "name": name,
                "status": "active",
                "currency": entity.currency,
                "term.key": random.choice(("1", "2", "3")),
            }
            add(object_, values)


def _write_periods(writer: Writer, first_day: date) -> None:
    """Write the months before the demo company's first one."""
    add = _adder(writer, None, date(2019, 1, 2))
    for year in range(first_day.year, FIRST_PERIOD_YEAR):
        for month in range(1, 13):
            first = date(year, month, 1)
            after = date(year + month // 12, month % 12 + 1, 1)
            values: Row = {
                "id": f"{first:%B %Y}",
                "columnHeader1": f"{first:%B}",
                "columnHeader2": f"{year}",
                "startDate": first.isoformat(),
                "endDate": date.fromordinal(after.toordinal() - 1).isoformat(),
            }
            add("general-ledger/reporting-period", values, key=period_key(first))


def _entity_keys(tables: Tables, entity: LegalEntity, company: Company) -> EntityKeys:
    def own(object_: str) -> list[str]:
        rows = tables[object_].rows.items()
        return [key for key, row in rows if row.get("entity.key") == entity.key]

    user = next(one.key for one in company.users.values() if one.home == entity.id)
    return EntityKeys(
        entity=entity,
        user=user,
        places=[entity.key, *own("company-config/location")],
        customers=own("accounts-receivable/customer"),
        vendors=own("accounts-payable/vendor"),
    )
