"""The XML gateway, for what REST does not have: asked like the query service, and read like it.

What is known (Sage's XML developer documentation, unless another source is named): requests are
POSTs of one document with the sender's id and password and a session; `query` takes `filter`,
`orderby`, `pagesize` (at most 2,000) and `offset` (from 0), and its answer tells `totalcount`;
`getAPISession` with `locationid` opens a session in an entity, and the `authentication` element of
each answer tells the entity that its session is in. Permission is refused with PL04000005 (seen in
public clients).

What is not known: whether the session of `services/core/session/id` is in the entity of the token
that asked for it, so one is always opened in the entity and each answer must tell that it is there;
and in which time zone change times are written. A public client (estuary/connectors) reads the
user's own offset and format from the gateway, so both are taken to be those of the Sage user:
`XmlAccess.zone`, and MM/DD/YYYY HH:MM:SS, which any other form is refused for.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import msgspec

from intacct_dagster.client.errors import (
    About,
    AccessDenied,
    AnswerNotUnderstood,
    AuthenticationRefused,
    ErrorDetail,
    IntacctError,
    RequestRefused,
    Throttled,
    WrongEntity,
)
from intacct_dagster.client.http.error_mapping import refusal
from intacct_dagster.client.http.responses import read_result
from intacct_dagster.client.http.transport import Kind, Response, Transport
from intacct_dagster.client.http.usage import Meter, Usage
from intacct_dagster.client.pagination import (
    ATTEMPTS,
    PaginationProof,
    PaginationResult,
    attempt_folder,
    discard,
    not_proven_complete,
    page_file,
)
from intacct_dagster.client.query import Query, QueryPage
from intacct_dagster.client.xml.access import XmlAccess, XmlSession
from intacct_dagster.client.xml.clock import NoSuchTime, moment_of
from intacct_dagster.client.xml.functions import (
    period_function,
    query_function,
    read_more_function,
)
from intacct_dagster.client.xml.objects import ENTITY, FieldType, XmlObject
from intacct_dagster.client.xml.response import NotXml, XmlAnswer, XmlError, read_answer
from intacct_dagster.pages import write_page

#: The most rows of one answer to `query`, and to `readByQuery`.
LARGEST_XML_PAGE: Final = 2000
_LARGEST_READ: Final = 1000

#: The most reporting periods of one reading: fifty years of months.
_MOST_PERIODS: Final = 600

# More than a number of rows has; Python refuses to convert thousands of digits.
_MOST_DIGITS: Final = 15

_SUPPORT_ID = re.compile(r"\[Support ID: ([^\]]*)\]")
_DENIED: Final = "PL04000005"


class XmlGateway:
    """Asks the gateway in one entity, or at the top level, with the session of a REST client.

    `open_rest` asks REST for a session: the body of `GET /services/core/session/id`.
    """

    def __init__(
        self,
        transport: Transport,
        access: XmlAccess,
        session: XmlSession,
        open_rest: Callable[[], bytes],
        *,
        user: str,
        entity: str | None,
        meter: Meter,
    ) -> None:
        self._transport = transport
        self._access = access
        self._session = session
        self._open_rest = open_rest
        self._user = user
        self._entity = entity
        self._meter = meter

    def prove(self) -> None:
        """That a session can be had, and is in the entity. Raises what `query` raises."""
        self._session.id(self._open, None)

    def query(self, what: XmlObject, query: Query) -> QueryPage:
        """Return one page, as the query service would give it."""
        about = About(self._entity, what.name)
        if what.by_period:
            raise RequestRefused(
                f"{what.name} takes no queries: it is read whole, by reporting period.",
                entity=self._entity,
                object=what.name,
                remedy="Its changes cannot be counted, nor its rows asked for by key.",
            )
        if query.filter_expression is not None:
            raise ValueError("the XML gateway is asked for what fits all filters")
        strange = [path for path in query.fields if path not in what.by_path.keys() | {ENTITY}]
        if strange:
            raise RequestRefused(
                f"{what.name} has no field {strange[0]}.", entity=self._entity, object=what.name
            )
        size = min(query.size, LARGEST_XML_PAGE)
        function = query_function(what, query, size, self._access.zone)
        answer = self._call(function, about, what)
        total, offset = self._count(answer, "totalcount", about), query.start - 1
        if "offset" in answer.data and self._count(answer, "offset", about) != offset:
            raise self._not_understood(
                f"was asked from {offset:,} on and answered from {answer.data['offset']}", about
            )
        rows = [self._flat(what, row, query.fields, about) for row in answer.rows]
        self._meter.add(Usage(pages=1, transactions=1))
        left = query.start + len(rows) <= total
        return QueryPage(
            msgspec.Raw(msgspec.json.encode(rows)),
            total,
            size,
            query.start + len(rows) if left and rows else None,
            query.start,
            answer.date,
        )

    def read_periods(
        self, what: XmlObject, periods: Sequence[str], fields: Sequence[str], into: Path
    ) -> PaginationResult:
        """Return all rows of reporting periods, by name, as files under `into`.

        The only documented way is `readByQuery` for one period and `readMore` until nothing is
        left. What proves a period: as many rows came as the first answer had counted, and no two
        have the same key. Raises PaginationIncomplete after some tries, and nothing is left then.
        """
        about = About(self._entity, what.name)
        if len(periods) > _MOST_PERIODS:
            raise RequestRefused(
                f"{about}: {len(periods):,} reporting periods are more than {_MOST_PERIODS}.",
                entity=self._entity,
                object=what.name,
                remedy="Choose a later start_date, or make fewer periods budgetable.",
            )
        before = self._meter.usage.requests
        reason = ""
        for attempt in range(1, ATTEMPTS + 1):
            discard(into)
            folder = attempt_folder(into, attempt)
            folder.mkdir(parents=True)
            files: list[Path] = []
            keys: set[str] = set()
            try:
                for period in periods:
                    files += self._read_period(what, period, fields, keys, folder, about)
            except _PeriodMoved as moved:
                reason = str(moved)
                continue
            requests = self._meter.usage.requests - before
            self._meter.add(Usage(rows=len(keys)))
            proof = PaginationProof(
                len(keys), len(keys), len(files), requests, attempt, own_rows=bool(keys)
            )
            return PaginationResult(tuple(files), proof)
        discard(into)
        raise not_proven_complete(
            about,
            f"{about} was read {ATTEMPTS} times and never proven complete: {reason}.",
            "Balances may be changing while they are read: run it again.",
        )

    def try_reading(self, what: XmlObject, period: str) -> None:
        """Ask for one row of a period, and keep nothing."""
        self._call(period_function(what, period, 1), About(self._entity, what.name), what)
        self._meter.add(Usage(pages=1, transactions=1))

    def _read_period(
        self,
        what: XmlObject,
        period: str,
        fields: Sequence[str],
        keys: set[str],
        folder: Path,
        about: About,
    ) -> list[Path]:
        function = period_function(what, period, _LARGEST_READ)
        files: list[Path] = []
        total, came = 0, 0
        for page in itertools.count():
            answer = self._call(function, about, what)
            self._meter.add(Usage(pages=1, transactions=1))
            if page == 0:
                total = self._count(answer, "totalcount", about)
            rows = []
            for row in answer.rows:
                if (row.get("PERIOD") or period) != period:
                    raise self._not_understood(
                        f"was asked for {period} and answered another", about
                    )
                key = what.key_of(row)
                if key in keys:
                    raise _PeriodMoved(f"two rows of {period} have the key {key}")
                keys.add(key)
                rows.append({**self._flat(what, row, fields, about), "key": key})
            came += len(rows)
            if rows:
                file = page_file(folder, sum(1 for _ in folder.iterdir()) + 1)
                write_page(file, (msgspec.json.encode(rows),))
                files.append(file)
            left = self._count(answer, "numremaining", about)
            if came + left != total or (left and not rows):
                raise _PeriodMoved(
                    f"of {period} {came:,} rows came and {left:,} were left of {total:,}"
                )
            if not left:
                return files
            function = read_more_function(answer.data.get("resultId", ""))
        raise AssertionError("unreachable: a page without rows ends it")

    # --- what is read ----------------------------------------------------------------------

    def _flat(
        self, what: XmlObject, row: Mapping[str, str | None], fields: Sequence[str], about: About
    ) -> dict[str, object]:
        flat: dict[str, object] = {}
        for path in fields:
            field = what.by_path.get(path)
            if field is not None:
                flat[path] = self._value(field.type, row.get(field.xml), field.xml, about)
            elif path == ENTITY:
                flat[path] = self._entity
        return flat

    def _value(self, type: FieldType, text: str | None, name: str, about: About) -> object:
        if text is None or type in ("text", "decimal"):
            return text
        try:
            match type:
                case "date":
                    return datetime.strptime(text[:10], "%m/%d/%Y").date().isoformat()  # noqa: DTZ007
                case "time":
                    return f"{moment_of(text, self._access.zone):%Y-%m-%dT%H:%M:%SZ}"
                case "integer":
                    return int(text)
                case "boolean":
                    return {"true": True, "false": False, "t": True, "f": False}[text.lower()]
                case "side":
                    return {"1": "debit", "-1": "credit"}[text]
        except NoSuchTime:
            raise self._not_understood(
                f"has {name} {text!r}, a time that clocks leave out in {self._access.zone}",
                about,
                f"Set `xml.time_zone` to that of the preferences of user {self._user}.",
            ) from None
        except (ValueError, KeyError):
            pass
        raise self._not_understood(
            f"has {name} {text[:40]!r}, which is no {type}",
            about,
            "Dates are read as MM/DD/YYYY with a clock of 24 hours: set the preferences of user "
            f"{self._user} so."
            if type in ("date", "time")
            else "",
        )

    def _count(self, answer: XmlAnswer, name: str, about: About) -> int:
        text = answer.data.get(name, "")
        if text.isdecimal() and len(text) <= _MOST_DIGITS:
            return int(text)
        raise self._not_understood(f"does not tell {name} as a number ({text[:40]!r})", about)

    def _not_understood(self, what: str, about: About, remedy: str = "") -> AnswerNotUnderstood:
        return AnswerNotUnderstood(
            f"The XML gateway's answer of {about} {what}.",
            remedy=remedy or "Nothing of it was used.",
            entity=about.entity,
            object=about.object,
        )

    # --- requests --------------------------------------------------------------------------

    def _call(self, function: str, about: About, what: XmlObject) -> XmlAnswer:
        """The answer to a function; with a new session, once, if the one there was has ended."""
        dead: str | None = None
        for last in (False, True):
            session = self._session.id(self._open, dead)
            answer = self._ask(function, session, about)
            if answer.session == "failure" and not last:
                dead = session
                continue
            self._judge(answer, about, what)
            if self._entity is not None and answer.entity != self._entity:
                raise self._wrong_entity(answer.entity, about)
            return answer
        raise AssertionError("unreachable: the second answer is judged")

    def _wrong_entity(self, there: str | None, about: About) -> WrongEntity:
        return WrongEntity(
            f"{about}: the XML session is in {there or 'the top level'}; nothing was kept.",
            remedy=f"Check that user {self._user} may enter {self._entity}: Company > Admin > "
            f"Users > {self._user} > User entities.",
            entity=self._entity,
            object=about.object,
        )

    def _open(self) -> tuple[str, timedelta]:
        """A session in the entity, from the one that REST gives. Two requests, every six hours."""
        about = About(self._entity)
        try:
            given = msgspec.convert(read_result(self._open_rest(), about), _Opened)
        except msgspec.ValidationError as error:
            raise AnswerNotUnderstood(
                f"REST gave no session id for the XML API: {error}", entity=self._entity
            ) from None
        lives = timedelta(seconds=given.expires_in)
        if self._entity is None:
            return given.session_id, lives
        function = f"<getAPISession><locationid>{escape(self._entity)}</locationid></getAPISession>"
        answer = self._ask(function, given.session_id, about)
        self._judge(answer, about, None)
        row = next((each for each in answer.rows if each.get("sessionid")), None)
        if row is None:
            raise self._not_understood("has no session id", about)
        if row.get("locationid") != self._entity:
            raise self._wrong_entity(row.get("locationid"), about)
        return str(row["sessionid"]), lives

    def _ask(self, function: str, session: str, about: About) -> XmlAnswer:
        name = secrets.token_hex(8)
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><request><control>'
            f"<senderid>{escape(self._access.sender_id)}</senderid>"
            f"<password>{escape(self._access.sender_password)}</password>"
            f"<controlid>{name}</controlid><uniqueid>false</uniqueid>"
            "<dtdversion>3.0</dtdversion><includewhitespace>false</includewhitespace></control>"
            f"<operation><authentication><sessionid>{escape(session)}</sessionid></authentication>"
            f'<content><function controlid="{name}">{function}</function></content>'
            "</operation></request>"
        )
        answer = self._transport.send(
            "POST",
            "",
            kind=Kind.READ,
            meter=self._meter,
            about=about,
            headers={"Content-Type": "application/xml", "Accept": "application/xml"},
            content=body.encode(),
        )
        read = self._read(answer, about)
        read.date = answer.date
        if read.function == "success" and read.control_id != name:
            raise self._not_understood("is the answer to another request", about)
        return read

    def _read(self, answer: Response, about: About) -> XmlAnswer:
        try:
            return read_answer(answer.body)
        except NotXml as error:
            if not 200 <= answer.status < 300:
                raise refusal(answer, about, self._user) from None
            raise self._not_understood(
                f"cannot be read: {error}", about, "Check xml.url and any proxy in between."
            ) from None

    def _judge(self, answer: XmlAnswer, about: About, what: XmlObject | None) -> None:
        """Raise the error that an answer tells of, if it does."""
        if (answer.control, answer.session, answer.function) == ("success",) * 3:
            return
        error = next(iter(answer.errors), XmlError("", "", "no explanation", ""))
        said = "; ".join(each.said for each in answer.errors) or error.said
        kind: type[IntacctError] = RequestRefused
        if error.number == "GW-0010":
            kind, what_happened = Throttled, f"Sage Intacct is throttling us at {about}"
            remedy = "Run it again later, or lower the concurrency."
        elif answer.control != "success":
            kind = AuthenticationRefused
            what_happened = f"The XML gateway does not accept sender {self._access.sender_id}"
            remedy = (
                "Check xml.sender_id and xml.sender_password, and that the company trusts the "
                "sender: Company > Security > Web Services authorizations."
            )
        elif answer.session != "success":
            kind = AuthenticationRefused
            what_happened = f"The XML gateway accepts no session of user {self._user} for {about}"
            remedy = "Check that the user is active and may use Web Services."
        elif error.number == _DENIED:
            kind, what_happened = AccessDenied, f"User {self._user} may not read {about}"
            remedy = f"Give it the permission: Company > Admin > Users > {self._user} > Roles."
        else:
            what_happened = f"The XML gateway refused the request for {about}"
            remedy = "Leave the field that it names out of `fields`, if it names one."
        support = _SUPPORT_ID.search(said)
        raise kind(
            f"{what_happened}: {_SUPPORT_ID.sub('', said).strip()}",
            remedy=remedy,
            entity=about.entity,
            object=about.object,
            error_id=error.number or None,
            support_id=support[1] if support else None,
            details=tuple(_details(answer.errors, what)),
        )


class _Opened(msgspec.Struct):
    session_id: str = msgspec.field(name="sessionId")
    expires_in: float = msgspec.field(name="expiresIn")


class _PeriodMoved(Exception):
    """What was read of a period does not add up; another attempt may."""


def _details(errors: Iterable[XmlError], what: XmlObject | None) -> Iterable[ErrorDetail]:
    """Yield the errors, with the path of the field that each names, if it names one."""
    for error in errors:
        words = re.findall(r"[A-Z0-9_]+", error.said)
        named = [what.by_xml[word].path for word in words if what and word in what.by_xml]
        yield ErrorDetail(None, error.said, error.number or None, named[0] if named else None)
