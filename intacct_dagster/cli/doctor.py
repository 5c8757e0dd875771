"""`intacct-dagster doctor`: what is well and what is not, from the file to the daemons.

A check looks at one thing and says what it saw. Those that need another's success are left out
where that one failed, and say so: one mistake gives one error, not twenty.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import msgspec
import sqlalchemy as sa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from intacct_dagster.client import AccessDenied, Intacct, IntacctError, Query, RequestRefused
from intacct_dagster.company import company_of, key_folder, prove
from intacct_dagster.config import ConfigError, Settings, load_settings
from intacct_dagster.extraction.schema import CompanySchema
from intacct_dagster.locks import LockError
from intacct_dagster.state import ApiUsage, StateError, open_state
from intacct_dagster.warehouse import Warehouse, WarehouseError, WarehouseLocked

#: A clock that is so far off spoils look-backs, and one so far off the times of tokens.
SKEW_WARNING, SKEW_ERROR = timedelta(seconds=30), timedelta(minutes=5)
#: Bytes that should be free beside the warehouse: readers get a copy of it.
FREE_ERROR, FREE_WARNING = 200_000_000, 2_000_000_000
#: The part of the month's API transactions from which on someone should look.
SPENT_WARNING = 0.8


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "not looked at"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, what was seen, and what to do about it."""

    check: str
    verdict: Verdict
    seen: str
    remedy: str = ""
    entity: str | None = None
    object: str | None = None


@dataclass
class Patient:
    """What the checks look at. `settings` and `state` are there once their checks have passed."""

    entities: tuple[str, ...] = ()
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _settings: Settings | None = None
    _state: sa.Engine | None = None
    _open: ExitStack = field(default_factory=ExitStack)
    working: list[str] = field(default_factory=list)
    """Entities whose session works."""

    @property
    def settings(self) -> Settings:
        """The configuration. Raises ConfigError."""
        if self._settings is None:
            self._settings = load_settings()
            for each in self.entities:
                if each not in self._settings.users:
                    known = ", ".join(self._settings.users)
                    raise ConfigError(f"There is no entity {each}; intacct.yaml has: {known}.")
        return self._settings

    @property
    def state(self) -> sa.Engine:
        """The state store. Raises StateStoreUnusable."""
        if self._state is None:
            self._state = open_state(self.settings.state)
        return self._state

    @cached_property
    def intacct(self) -> Intacct:
        """The company. Raises WarehouseError where its key is missing, wrong or exposed."""
        return self._open.enter_context(company_of(self.settings))

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse, waited for a moment only."""
        return Warehouse(self.settings.warehouse, lock_timeout=2)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The entities that are looked at."""
        return self.entities or self.settings.active

    def close(self) -> None:
        """Counts what was asked, and lets go of everything."""
        if "intacct" in self.__dict__ and self._state is not None:
            usage = self.intacct.usage
            ApiUsage(self._state, self.settings.company).spend(
                at=self.now(),
                run_id="doctor",
                entity="",
                object="",
                requests=usage.requests,
                transactions=usage.transactions,
            )
        self._open.close()
        if self._state is not None:
            self._state.dispose()


Look = Callable[[Patient], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """A thing that is looked at, if what it `needs` was not found broken."""

    name: str
    look: Look
    needs: tuple[str, ...] = ()


def examine(patient: Patient) -> Iterator[Finding]:
    """All findings, in the order of the checks. Raises nothing that a company can cause."""
    broken: dict[str, str] = {}  # by check, what is to be mended first
    for check in CHECKS:
        missing = [name for name in check.needs if name in broken]
        if missing:
            broken[check.name] = broken[missing[0]]
            yield Finding(check.name, Verdict.SKIPPED, f"first mend: {broken[check.name]}")
            continue
        found = _found(check, patient)
        yield from found
        wrong = [each for each in found if each.verdict is Verdict.ERROR]
        if wrong and (check.name != "session" or not patient.working):
            broken[check.name] = check.name


def _found(check: Check, patient: Patient) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check.look(patient))
    except (ConfigError, IntacctError, LockError, StateError, WarehouseError) as error:
        found.append(_wrong(check.name, error))
    return found


def _wrong(
    check: str, error: Exception, entity: str | None = None, object: str | None = None
) -> Finding:
    what, _, remedy = str(error).partition("\n")
    if isinstance(error, ConfigError):
        what, remedy = str(error), "Correct intacct.yaml, or the environment that it asks for."
    return Finding(check, Verdict.ERROR, what, " ".join(remedy.splitlines()), entity, object)


# -- on this machine ---------------------------------------------------------------------------


def _configuration(patient: Patient) -> Iterator[Finding]:
    settings = patient.settings
    yield Finding(
        "configuration",
        Verdict.OK,
        f"{settings.company} at {settings.base_url}: {len(settings.users)} entities, "
        f"{len(settings.objects)} objects, {settings.auth.grant}",
    )
    file = settings.directory / ".env"
    if file.is_file():
        yield _mode("configuration", file)
    elsewhere = settings.scope == "production" and settings.is_sandbox
    yield Finding(
        "scope",
        Verdict.WARNING if elsewhere else Verdict.OK,
        f"{settings.scope}, as intacct.yaml says; no answer of Intacct tells what the client id "
        "was registered for",
        "The sandbox is not production: correct `scope`." if elsewhere else "",
    )


def _mode(check: str, file: Path) -> Finding:
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        return Finding(
            check,
            Verdict.WARNING,
            f"{file.name} has mode {mode:04o}: others on this machine may read it",
            f"chmod 600 {file}",
        )
    return Finding(check, Verdict.OK, f"{file.name}: only its owner may read it")


def _state_store(patient: Patient) -> Iterator[Finding]:
    with patient.state.begin():  # takes the right to write, and gives it back
        pass
    yield Finding("state store", Verdict.OK, "can be read and written")
    stored = [each for each in patient.intacct.stored_sessions() if each.state != "missing"]
    yield Finding(
        "state store", Verdict.OK, f"{len(stored)} stored sessions, readable with the key at hand"
    )
    folder = key_folder(patient.state.url)
    if folder is not None:
        for name in (folder / Path(patient.state.url.database or "").name, folder / "token.key"):
            if name.is_file():
                yield _mode("state store", name)


def _warehouse(patient: Patient) -> Iterator[Finding]:
    path = patient.settings.warehouse
    folder = next(each for each in path.parents if each.is_dir())
    if not os.access(folder, os.W_OK):
        yield Finding(
            "warehouse",
            Verdict.ERROR,
            f"{folder} cannot be written to",
            "Give this user the right to, or set `warehouse` in intacct.yaml.",
        )
        return
    try:
        with patient.warehouse.connect() as connection:
            connection.execute("SELECT 1")
    except WarehouseLocked as error:
        yield Finding(
            "warehouse",
            Verdict.WARNING,
            str(error).splitlines()[0],
            "Runs wait for it; so may you.",
        )
    else:
        yield Finding("warehouse", Verdict.OK, f"{path.name} can be read and written")
    free = shutil.disk_usage(folder).free
    size = path.stat().st_size if path.exists() else 0
    tight = free < max(FREE_ERROR, size), free < max(FREE_WARNING, 3 * size)
    yield Finding(
        "disk",
        Verdict.ERROR if tight[0] else Verdict.WARNING if tight[1] else Verdict.OK,
        f"{free / 1e9:,.1f} GB free beside a warehouse of {size / 1e9:,.1f} GB",
        "Make room, or move the warehouse: pages, and a copy for analysts, lie beside it."
        if tight[1]
        else "",
    )


# -- at Intacct --------------------------------------------------------------------------------


def _reached(patient: Patient) -> Iterator[Finding]:
    skew = patient.intacct.clock_skew()
    yield Finding("company", Verdict.OK, f"{patient.settings.base_url} answers")
    if skew is None:
        yield Finding("clock", Verdict.WARNING, "Intacct's answers have no date to compare with")
        return
    off, side = abs(skew), "ahead" if skew > timedelta() else "behind"
    yield Finding(
        "clock",
        Verdict.ERROR
        if off > SKEW_ERROR
        else Verdict.WARNING
        if off > SKEW_WARNING
        else Verdict.OK,
        f"this machine is {off.total_seconds():,.0f} s {side}",
        "Set the clock (NTP): tokens and windows of change are counted by it."
        if off > SKEW_WARNING
        else "",
    )


def _session(patient: Patient) -> Iterator[Finding]:
    for entity in patient.chosen:
        user = patient.settings.users[entity]
        try:
            prove(patient.settings, patient.intacct, entity)
        except IntacctError as error:
            yield _wrong("session", error, entity)
        else:
            patient.working.append(entity)
            yield Finding(
                "session", Verdict.OK, f"{user} works in {entity} and nowhere else", entity=entity
            )


def _permissions(patient: Patient) -> Iterator[Finding]:
    settings = patient.settings
    pairs = [(entity, each.name) for entity in patient.working for each in settings.objects]

    def ask(pair: tuple[str, str]) -> Finding | None:
        try:
            patient.intacct.entity(pair[0]).try_reading(pair[1])
        except IntacctError as error:
            return _wrong("permission", error, *pair)
        return None

    with ThreadPoolExecutor(settings.limits.concurrency) as threads:
        wrong = [each for each in threads.map(ask, pairs) if each is not None]
    yield from wrong
    if not wrong:
        yield Finding(
            "permission",
            Verdict.OK,
            f"{len(settings.objects)} objects may be read in each of "
            f"{len(patient.working)} entities",
        )


def _fields(patient: Patient) -> Iterator[Finding]:
    schemas = CompanySchema(patient.warehouse, patient.now)
    client = patient.intacct.entity(patient.working[0])
    drifted = False
    for each in patient.settings.objects:
        try:
            schema = schemas.look(client, each)
        except IntacctError as error:
            yield _wrong("fields", error, object=each.name)
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


def _periods(patient: Patient) -> Iterator[Finding]:
    today = patient.now().date()
    for entity in patient.working:
        query = Query(
            "company-config/entity",
            ("id", "openBooksStartDate"),
            ({"$eq": {"id": entity}},),
            size=2,
        )
        try:
            rows = patient.intacct.entity(entity).query(query).rows
        except (AccessDenied, RequestRefused) as error:
            rows, why = [], f": {error.what}"
        else:
            why = ""
        told = str(rows[0].get("openBooksStartDate") or "") if len(rows) == 1 else ""
        if not told:
            yield Finding(
                "period",
                Verdict.WARNING,
                f"from when the books are open is not shown to {patient.settings.users[entity]}"
                + why,
                "Give it the permission to list entities; otherwise nothing is posted by date.",
                entity,
            )
            continue
        closed = date.fromisoformat(told) > today
        yield Finding(
            "period",
            Verdict.WARNING if closed else Verdict.OK,
            f"books are open from {told} on",
            "Nothing of today can be posted: Company > Open books." if closed else "",
            entity,
        )


def _limits(patient: Patient) -> Iterator[Finding]:
    told = patient.intacct.reported_limits
    asked = patient.settings.limits.concurrency
    names = ", ".join(f"{name}: {value}" for name, value in sorted(told.items()))
    at_once = [
        int(digits)
        for name, value in told.items()
        if name.lower().endswith("throttle-limit")
        and (digits := value.rpartition("-")[2].strip()).isdecimal()
    ]
    more = bool(at_once) and asked > min(at_once)
    yield Finding(
        "limits",
        Verdict.WARNING if more else Verdict.OK,
        f"{asked} requests at once are asked for; Intacct says {names or 'nothing of limits'}",
        f"Set `limits: {{concurrency: {min(at_once)}}}`." if more else "",
    )


def _allowance(patient: Patient) -> Iterator[Finding]:
    settings, now = patient.settings, patient.now()
    spent = ApiUsage(patient.state, settings.company).spent(now)
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


# -- Dagster -----------------------------------------------------------------------------------


def _dagster(patient: Patient) -> Iterator[Finding]:
    home = os.environ.get("DAGSTER_HOME")
    folder = Path(home) if home else patient.settings.directory
    if not (folder / "dagster.yaml").is_file():
        yield Finding(
            "dagster",
            Verdict.WARNING,
            f"{folder} has no dagster.yaml: history is kept for as long as a process lives",
            "Copy dagster.yaml of the project there, or set DAGSTER_HOME.",
        )
        return
    import dagster as dg  # noqa: PLC0415 - two seconds that the checks before need not wait for

    try:
        here = Path.cwd()
        os.chdir(folder)
        try:
            instance = dg.DagsterInstance.from_config(str(folder))
        finally:
            os.chdir(here)
    except Exception as error:
        yield Finding(
            "dagster",
            Verdict.ERROR,
            f"the instance of {folder} cannot be opened: {type(error).__name__}: {error}",
            "Correct dagster.yaml; see docs.dagster.io, Dagster instance.",
        )
        return
    with instance:
        yield Finding("dagster", Verdict.OK, f"the instance of {folder} opens")
        yield from _daemons(instance.get_daemon_heartbeats())


def _daemons(heartbeats: object) -> Iterator[Finding]:
    beats = heartbeats if isinstance(heartbeats, dict) else {}
    latest = max((float(each.timestamp) for each in beats.values()), default=0.0)
    errors = sorted(name for name, each in beats.items() if each.errors)
    if not beats or time.time() - latest > 300:
        yield Finding(
            "daemons",
            Verdict.WARNING,
            "no daemon is running: schedules and sensors do nothing, queued runs wait",
            "Start `dagster-daemon run`, or `intacct-dagster dev` on a laptop.",
        )
    elif errors:
        yield Finding(
            "daemons",
            Verdict.WARNING,
            f"{', '.join(errors)} reported errors",
            "Look at Deployment > Daemons in the UI.",
        )
    else:
        yield Finding("daemons", Verdict.OK, f"{len(beats)} daemons are running")


def _time_zone(patient: Patient) -> Iterator[Finding]:
    settings = patient.settings
    here = datetime.now().astimezone()
    seen = (
        f"schedules go by {settings.schedules.time_zone}, days are UTC, this machine by {here:%Z}"
    )
    yield Finding("time zone", Verdict.OK, seen)


#: What is looked at, in order. What a check needs stands before it.
CHECKS = (
    Check("configuration", _configuration),
    Check("state store", _state_store, ("configuration",)),
    Check("warehouse", _warehouse, ("configuration",)),
    Check("company", _reached, ("configuration", "state store")),
    Check("session", _session, ("company",)),
    Check("permission", _permissions, ("session",)),
    Check("fields", _fields, ("session", "warehouse")),
    Check("period", _periods, ("session",)),
    Check("limits", _limits, ("session",)),
    Check("allowance", _allowance, ("configuration", "state store")),
    Check("dagster", _dagster, ("configuration",)),
    Check("time zone", _time_zone, ("configuration",)),
)

_MARKS = {
    Verdict.OK: "[green]ok[/]",
    Verdict.WARNING: "[yellow]warning[/]",
    Verdict.ERROR: "[red]error[/]",
    Verdict.SKIPPED: "[dim]not looked at[/]",
}


def run_doctor(entities: tuple[str, ...], *, as_json: bool, strict: bool) -> bool:
    """Prints all findings. Whether there is no error; with `strict`, no warning either."""
    patient = Patient(entities)
    try:
        findings = list(examine(patient))
    finally:
        patient.close()
    bad = {Verdict.ERROR, *([Verdict.WARNING] if strict else [])}
    good = not any(each.verdict in bad for each in findings)
    console = Console(soft_wrap=True, highlight=False)
    if as_json:
        told = {"well": good, "findings": [asdict(each) for each in findings]}
        console.print(msgspec.json.encode(told).decode(), markup=False)
        return good
    table = Table("check", "", "seen", "what to do", box=None, pad_edge=False)
    for each in findings:
        about = " ".join(part for part in (each.entity, each.object) if part)
        what = escape(f"{each.check} {about}".strip())
        table.add_row(what, _MARKS[each.verdict], escape(each.seen), escape(each.remedy))
    Console(highlight=False).print(table)
    counts = {verdict: sum(each.verdict is verdict for each in findings) for verdict in Verdict}
    console.print(", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number))
    return good
