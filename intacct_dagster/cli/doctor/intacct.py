"""Checks of the company at Intacct: sessions, permissions, fields, periods, limits."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

from intacct_dagster.cli.doctor.examination import Examination, Finding, Verdict, failure
from intacct_dagster.client import AccessDenied, IntacctError, Query, RequestRefused
from intacct_dagster.company import prove
from intacct_dagster.extraction.schema import CompanySchema
from intacct_dagster.state import ApiUsage

#: A clock that is so far off spoils look-backs. Beyond `limits.clock_skew_seconds`, nothing is
#: posted.
SKEW_WARNING = timedelta(seconds=30)
# More than a number of requests has; Python refuses to convert thousands of digits.
_MOST_DIGITS = 15
#: The part of the month's API transactions from which on someone should look.
SPENT_WARNING = 0.8


def reached(examination: Examination) -> Iterator[Finding]:
    skew = examination.intacct.clock_skew()
    yield Finding("company", Verdict.OK, f"{examination.settings.base_url} answers")
    if skew is None:
        yield Finding("clock", Verdict.WARNING, "Intacct's answers have no date to compare with")
        return
    most = timedelta(seconds=examination.settings.limits.clock_skew_seconds)
    off, side = abs(skew), "ahead" if skew > timedelta() else "behind"
    yield Finding(
        "clock",
        Verdict.ERROR if off > most else Verdict.WARNING if off > SKEW_WARNING else Verdict.OK,
        f"this machine is {off.total_seconds():,.0f} s {side}",
        "Set the clock (NTP): tokens and windows of change are counted by it."
        if off > min(SKEW_WARNING, most)
        else "",
    )


def sessions(examination: Examination) -> Iterator[Finding]:
    for entity in examination.chosen:
        user = examination.settings.users[entity]
        try:
            prove(examination.settings, examination.intacct, entity)
        except IntacctError as error:
            yield failure("session", error, entity)
        else:
            examination.working.append(entity)
            yield Finding(
                "session", Verdict.OK, f"{user} works in {entity} and nowhere else", entity=entity
            )


def permissions(examination: Examination) -> Iterator[Finding]:
    settings = examination.settings
    pairs = [(entity, each.name) for entity in examination.working for each in settings.objects]

    def ask(pair: tuple[str, str]) -> Finding | None:
        try:
            examination.intacct.entity(pair[0]).try_reading(pair[1])
        except IntacctError as error:
            return failure("permission", error, *pair)
        return None

    with ThreadPoolExecutor(settings.limits.concurrency) as threads:
        wrong = [each for each in threads.map(ask, pairs) if each is not None]
    yield from wrong
    if not wrong:
        yield Finding(
            "permission",
            Verdict.OK,
            f"{len(settings.objects)} objects may be read in each of "
            f"{len(examination.working)} entities",
        )


def fields(examination: Examination) -> Iterator[Finding]:
    schemas = CompanySchema(examination.warehouse, examination.now)
    client = examination.intacct.entity(examination.working[0])
    drifted = False
    for each in examination.settings.objects:
        try:
            schema = schemas.look(client, each)
        except Exception as error:  # the other objects are looked at all the same
            yield failure("fields", error, object=each.name)
            continue
        if isinstance(schema, list):
            for amiss in schema:
                remedy = "Correct `objects` in intacct.yaml."
                yield Finding("fields", Verdict.ERROR, amiss, remedy, object=each.name)
            continue
        for what, paths in (("new", schema.new), ("vanished", schema.vanished)):
            if paths:
                drifted = True
                yield Finding(
                    "drift",
                    Verdict.WARNING,
                    f"{what} since it was read last: {', '.join(paths)}",
                    "The next run takes it over; look at what is built on these fields.",
                    object=each.name,
                )
        hidden = f", {len(schema.unreadable)} more that no query gives" if schema.unreadable else ""
        seen = f"{len(schema.columns)} fields{hidden}, read by {schema.read_by.partition(':')[0]}"
        yield Finding("fields", Verdict.OK, seen, object=each.name)
    if not drifted:
        yield Finding("drift", Verdict.OK, "no field came or went since objects were read last")


def periods(examination: Examination) -> Iterator[Finding]:
    today = examination.now().date()
    for entity in examination.working:
        query = Query(
            "company-config/entity",
            ("id", "openBooksStartDate"),
            ({"$eq": {"id": entity}},),
            size=2,
        )
        try:
            rows = examination.intacct.entity(entity).query(query).rows
        except (AccessDenied, RequestRefused) as error:
            rows, why = [], f": {error.what}"
        else:
            why = ""
        shown = str(rows[0].get("openBooksStartDate") or "") if len(rows) == 1 else ""
        if not shown:
            yield Finding(
                "period",
                Verdict.WARNING,
                f"from when the books are open is not shown to {examination.settings.users[entity]}"
                + why,
                "Give it the permission to list entities; otherwise nothing is posted by date.",
                entity,
            )
            continue
        closed = date.fromisoformat(shown) > today
        yield Finding(
            "period",
            Verdict.WARNING if closed else Verdict.OK,
            f"books are open from {shown} on",
            "Nothing of today can be posted: Company > Open books." if closed else "",
            entity,
        )


def limits(examination: Examination) -> Iterator[Finding]:
    shown = examination.intacct.reported_limits
    asked = examination.settings.limits.concurrency
    names = ", ".join(f"{name}: {value}" for name, value in sorted(shown.items()))
    at_once = [
        int(digits)
        for name, value in shown.items()
        if name.lower().endswith("throttle-limit")
        and (digits := value.rpartition("-")[2].strip()).isdecimal()
        and len(digits) <= _MOST_DIGITS
    ]
    more = bool(at_once) and asked > min(at_once)
    yield Finding(
        "limits",
        Verdict.WARNING if more else Verdict.OK,
        f"{asked} requests at once are asked for; Intacct says {names or 'nothing of limits'}",
        f"Set `limits: {{concurrency: {min(at_once)}}}`." if more else "",
    )


def allowance(examination: Examination) -> Iterator[Finding]:
    settings, now = examination.settings, examination.now()
    spent = ApiUsage(examination.state, settings.company).spent(now)
    allowed = settings.limits.monthly_transactions
    part = spent / allowed
    yield Finding(
        "allowance",
        Verdict.ERROR if part >= 1 else Verdict.WARNING if part >= SPENT_WARNING else Verdict.OK,
        f"{max(0, allowed - spent):,} of {allowed:,} API transactions of {now:%B} are left, as "
        "this store counted; other integrations are not in it",
        "Sage bills what exceeds the plan: read fewer objects, or larger plans."
        if part >= SPENT_WARNING
        else "",
    )
