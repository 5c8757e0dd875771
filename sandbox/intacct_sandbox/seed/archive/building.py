"""Generates the journal entries of a large company into a file, some days at a time.

Chance comes from MD5, so that the same seed gives the same books whatever the version of DuckDB.
What is held in memory does not grow with the company: DuckDB generates a month, spills what it
sorts, and is held to a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import resources
from pathlib import Path
from random import Random
from string import Template

import duckdb

from intacct_sandbox.control.clock import LAST_DAY
from intacct_sandbox.seed.generator.large_company import LargeCompany
from intacct_sandbox.seed.generator.ledger import DEPARTMENTS
from intacct_sandbox.seed.generator.writer import WORKING_SECONDS, period_key

ARCHIVED = ("general-ledger/journal-entry", "general-ledger/journal-entry-line")
"""The objects that a large company keeps in its file."""

Progress = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and of how much."""

Config = dict[str, str | bool | int | float | list[str]]

_MEMORY = "400MB"
_NINE_ENTRIES = 36  # lines of nine entries, one of each shape
_TO_USD = {
    "USD": 1.0,
    "CAD": 0.7312,
    "GBP": 1.3064,
    "AUD": 0.6588,
    "EUR": 1.1127,
    "NZD": 0.6011,
    "CHF": 1.1702,
}
_PARTIES = {"CRJ": "customer", "CDJ": "vendor"}


@dataclass(frozen=True)
class _Day:
    """A day of the calendar, and the entries that are made on it."""

    day: date
    first: int
    last: int


def connect(config: Config, database: str = ":memory:") -> duckdb.DuckDBPyConnection:
    """Return a connection that draws no progress bar.

    DuckDB draws one on standard output, where the sandbox's ready line is expected.
    """
    connection = duckdb.connect(database, config=config)
    connection.execute("SET enable_progress_bar = false")
    return connection


def build(file: Path, large_company: LargeCompany, seed: int, progress: Progress) -> None:
    """Write the file, which must not be there; what is left of a build that was broken off is
    of no use."""
    scratch = file.with_suffix(".scratch")
    connection = connect(
        {"memory_limit": _MEMORY, "temp_directory": str(file.with_suffix(".spill"))}
    )
    try:
        connection.execute(f"ATTACH {_text(str(file))} AS archive")
        connection.execute(f"ATTACH {_text(str(scratch))} AS scratch")
        connection.execute(_sql("prepare", seed=seed))
        days = list(_days(large_company))
        _write_what_entries_refer_to(connection, large_company, days, seed)
        _write_entries(connection, large_company, days, progress)
        statements = [one for one in _sql("arrange").split(";\n") if one.strip()]
        for number, statement in enumerate(statements):
            progress("arranging", number, len(statements))
            connection.execute(statement)
        progress("arranging", len(statements), len(statements))
        connection.execute("CHECKPOINT archive")
    finally:
        connection.close()
        scratch.unlink(missing_ok=True)


def _sql(name: str, **values: object) -> str:
    text = resources.files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    return Template(text).substitute(values)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _keys(keys: Iterable[str]) -> str:
    return f"[{', '.join(keys)}]::BIGINT[]"


def _shape(lines: int) -> tuple[int, int]:
    """Return how many entries come in nines, and how many lines the last one has besides (or 0)."""
    nines, rest = divmod(lines, _NINE_ENTRIES)
    if rest == 1:
        nines, rest = nines - 1, rest + _NINE_ENTRIES
    return nines * 9, rest


def _days(large_company: LargeCompany) -> Iterator[_Day]:
    """Yield the calendar; on a day of the weekend two fifths of what a weekday sees."""
    whole, rest = _shape(large_company.size.lines)
    entries = whole + bool(rest)
    length = (LAST_DAY - large_company.first_day).days + 1
    calendar = [large_company.first_day + timedelta(number) for number in range(length)]
    weights = [5 if day.weekday() < 5 else 2 for day in calendar]
    so_far, written = 0, 0
    for day, weight in zip(calendar, weights, strict=True):
        so_far += weight
        until = entries * so_far // sum(weights)
        if until > written:
            yield _Day(day, written + 1, until)
        written = until


def _write_what_entries_refer_to(
    connection: duckdb.DuckDBPyConnection,
    large_company: LargeCompany,
    days: Sequence[_Day],
    seed: int,
) -> None:
    def table(name: str, columns: str, rows: Iterable[str]) -> None:
        connection.execute(f"CREATE TABLE {name} ({columns})")
        connection.execute(f"INSERT INTO {name} VALUES {', '.join(rows)}")

    table(
        "days",
        "day DATE, first BIGINT, last BIGINT, period BIGINT",
        (f"('{one.day}', {one.first}, {one.last}, {period_key(one.day)})" for one in days),
    )
    # An entity has from one to five seats: the more, the more of the entries are its own.
    random = Random(f"{seed}:seats")  # noqa: S311 - data, not secrets
    seats = [one.entity.key for one in large_company.entities for _ in range(random.randint(1, 5))]
    table("seats", "seat BIGINT, entity BIGINT", (f"({n}, {one})" for n, one in enumerate(seats)))
    table(
        "houses",
        "entity BIGINT, currency VARCHAR, abroad VARCHAR, user_key BIGINT, places BIGINT[], "
        "customers BIGINT[], vendors BIGINT[]",
        (
            f"({one.entity.key}, '{one.entity.currency}', "
            f"'{'USD' if one.entity.currency != 'USD' else 'EUR'}', {one.user}, "
            f"{_keys(one.places)}, {_keys(one.customers)}, {_keys(one.vendors)})"
            for one in large_company.entities
        ),
    )
    table(
        "patterns",
        "pattern INTEGER, journal BIGINT, symbol VARCHAR, what VARCHAR, party VARCHAR, "
        "debit_accounts BIGINT[], credit_accounts BIGINT[]",
        (
            f"({number}, {large_company.journals[symbol]}, '{symbol}', '{what}', "
            f"{_text(_PARTIES[symbol]) if symbol in _PARTIES else 'NULL'}, "
            f"{_keys(large_company.accounts[one] for one in debits)}, "
            f"{_keys(large_company.accounts[one] for one in credits_)})"
            for number, (symbol, what, debits, credits_) in enumerate(large_company.patterns)
        ),
    )
    months = sorted({one.day.replace(day=1) for one in days})
    table("rates", "base VARCHAR, txn VARCHAR, month DATE, rate DECIMAL(18, 6)", _rates(months))


def _rates(months: Iterable[date]) -> Iterator[str]:
    for month in months:
        random = Random(f"rates of {month}")  # noqa: S311 - data, not secrets
        for base, to_usd in _TO_USD.items():
            txn = "USD" if base != "USD" else "EUR"
            rate = _TO_USD[txn] / to_usd * random.uniform(0.97, 1.03)
            yield f"('{base}', '{txn}', '{month}', {rate:.4f})"


def _write_entries(
    connection: duckdb.DuckDBPyConnection,
    large_company: LargeCompany,
    days: Sequence[_Day],
    progress: Progress,
) -> None:
    whole, rest = _shape(large_company.size.lines)
    seats = _number(connection, "SELECT count(*) FROM seats")
    departments = _keys(large_company.departments[one] for one in DEPARTMENTS)
    lines = 0
    months: dict[tuple[int, int], list[_Day]] = {}
    for one in days:
        months.setdefault((one.day.year, one.day.month), []).append(one)
    for month in months.values():
        progress("generating", lines, large_company.size.lines)
        connection.execute(
            _sql(
                "entries",
                first_day=f"DATE '{month[0].day}'",
                last_day=f"DATE '{month[-1].day}'",
                last_of_all=f"DATE '{LAST_DAY}'",
                whole_entries=whole,
                rest_lines=rest,
                seats=seats,
                working_seconds=WORKING_SECONDS,
                lines_before=lines,
            )
        )
        connection.execute(
            _sql(
                "lines",
                first_entry=month[0].first,
                last_entry=month[-1].last,
                departments=departments,
            )
        )
        lines = _number(connection, "SELECT max(key) FROM scratch.line")
    if lines != large_company.size.lines:
        raise AssertionError(f"{lines} lines were generated instead of {large_company.size.lines}")
    progress("generating", lines, lines)


def _number(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    found = connection.execute(sql).fetchone()
    return int(found[0]) if found is not None else 0
