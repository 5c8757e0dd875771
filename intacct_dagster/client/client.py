"""The face of this package: a company, and one client for each of its entities."""

from __future__ import annotations

import difflib
import functools
import itertools
import random
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from intacct_dagster.client.auth.oauth import AuthorizationCode, Consent, Grant, ask_consent
from intacct_dagster.client.auth.session import RefreshWatch, Session, StoredSession, unwatched
from intacct_dagster.client.auth.tokens import MemoryTokenStore, TokenStore
from intacct_dagster.client.batch import BatchResponse, check_batch, read_batch_response
from intacct_dagster.client.error_mapping import refusal, token_is_dead
from intacct_dagster.client.errors import (
    About,
    AccessDenied,
    AnswerNotUnderstood,
    AuthenticationRefused,
    NotReached,
    RequestRefused,
    WrongEntity,
)
from intacct_dagster.client.model import ObjectModel, object_names, read_model
from intacct_dagster.client.pagination import (
    CHANGED,
    ChangeWindow,
    OnProgress,
    PageRequest,
    PageSource,
    PaginationResult,
    discard,
    paginate,
)
from intacct_dagster.client.priority_executor import PriorityExecutor
from intacct_dagster.client.query import LARGEST_PAGE, Filter, Query, QueryPage, Scalar, read_page
from intacct_dagster.client.rate_limit import RateLimiter, SharedSlots
from intacct_dagster.client.responses import read_records, read_result
from intacct_dagster.client.transport import Kind, Response, Transport
from intacct_dagster.client.usage import Meter, Usage
from intacct_dagster.client.xml.access import XmlAccess, XmlSession
from intacct_dagster.client.xml.gateway import LARGEST_XML_PAGE, XmlGateway
from intacct_dagster.client.xml.objects import xml_object

#: The most keys in one GET (developer portal, bulk requests).
KEYS_IN_A_GET: Final = 500

#: How much smaller than asked for a page may be, so that no two requests in a row are alike; how
#: many keys come with a count; how often an answer to another question is asked for again.
_SPREAD: Final = 16
_KEYS_OF_A_COUNT: Final = 4
_TRIES_OF_AN_ANSWER: Final = 5

#: Objects whose records are of an entity in nearly every company: they tell whose a session is.
MOSTLY_PRIVATE: Final = (
    "general-ledger/journal-entry",
    "accounts-receivable/invoice",
    "accounts-payable/bill",
)

_PERIODS: Final = "general-ledger/reporting-period"

# An unknown header is silently ignored and the answer is of the whole company (observed live), so
# the name is spelled in one place. It is the form with three hyphens that works.
_ENTITY_HEADER: Final = "X-IA-API-Param-Entity"

_OBJECT_NAME = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9:_. -]+")


def _now() -> datetime:
    return datetime.now(UTC)


class Intacct:
    """One company of Sage Intacct. Thread-safe; close it, or use it in a `with`.

    `base_url` is the API root ("https://api.intacct.com/ia/api/v1"), `users` maps entity ids to the
    Sage users whose sessions read and write them. `tokens` keeps sessions (default: in memory),
    `concurrency` is how many requests may be in flight at once, over all clients and threads;
    `slots` are those that all processes share, and are closed with this.
    `transport` takes the place of the network and `now` that of the clock (aware UTC); `watch` is
    called with each step of a renewal. Objects that only the XML API has need `xml`.
    """

    def __init__(
        self,
        company: str,
        base_url: str,
        grant: Grant,
        users: Mapping[str, str],
        tokens: TokenStore | None = None,
        transport: httpx.BaseTransport | None = None,
        now: Callable[[], datetime] = _now,
        concurrency: int = 6,
        watch: RefreshWatch = unwatched,
        xml: XmlAccess | None = None,
        slots: SharedSlots | None = None,
    ) -> None:
        self.company = company
        self._grant = grant
        self._users = dict(users)
        self._tokens = tokens if tokens is not None else MemoryTokenStore()
        self._slots = slots
        limiter = RateLimiter(concurrency, shared=slots)
        self._transport = Transport(base_url, transport, limiter)
        self._xml = xml
        self._xml_transport = Transport(xml.url, transport, limiter) if xml is not None else None
        self._xml_sessions: dict[tuple[str, str | None], XmlSession] = {}
        self._executor = PriorityExecutor(concurrency)
        self._now = now
        self._watch = watch
        self._meter = Meter()
        self._sessions: dict[tuple[str, str | None], Session] = {}
        self._sessions_lock = threading.Lock()

    def __enter__(self) -> Intacct:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Sessions stay valid in their store."""
        self._executor.close()
        self._transport.close()
        if self._xml_transport is not None:
            self._xml_transport.close()
        if self._slots is not None:
            self._slots.close()

    @property
    def reported_limits(self) -> Mapping[str, str]:
        """What the answers so far said of rates and requests at once, by header."""
        return self._transport.reported_limits

    def clock_skew(self) -> timedelta | None:
        """By how much our clock is ahead of Intacct's; None if its answers have no date.

        Asks without a session. Raises NotReached, Throttled and ServerFailed.
        """
        answer = self._transport.send(
            "GET", "/services/core/model", kind=Kind.READ, meter=self._meter, about=About()
        )
        sent_at = answer.headers.get("date")
        try:
            return self._now() - parsedate_to_datetime(sent_at) if sent_at else None
        except ValueError:
            return None

    @property
    def usage(self) -> Usage:
        """What all clients of this company asked for."""
        return self._meter.usage

    def entity(self, entity: str) -> IntacctClient:
        """Return a client that sees and writes one entity. Raises RequestRefused if it has no user.

        Each call gives a client that counts its own usage; the session behind them is one.
        """
        return self._client(self._user(entity), entity)

    def top_level(self, user: str) -> IntacctClient:
        """Return a client at the top level of the company, for a Sage user who may be there.

        It sees what is private to entities as well.
        """
        return self._client(user, None)

    def ask_consent(self, entity: str) -> Consent:
        """Return the page on which the user of an entity consents, for authorization_code.

        Raises AuthenticationRefused where that user has a session for another entity: a second
        consent would end the first (reported by integrators; not documented by Sage).
        """
        if not isinstance(self._grant, AuthorizationCode):
            raise TypeError("client_credentials needs no consent")
        user = self._user(entity)
        for other in self.stored_sessions():
            if other.user == user and other.entity != entity and other.state in ("alive", "due"):
                at = other.entity or "the top level"
                raise AuthenticationRefused(
                    f"User {user} is authorized for {at} already, and Sage Intacct lets a user's "
                    f"second consent silently end the first: {at} would die at its next refresh.",
                    remedy=f"Give {entity} a Sage user of its own in intacct.yaml. If {at} is not "
                    f"needed any more: `intacct-dagster sessions revoke {other.entity or ''}"
                    "`, then authorize again.",
                    entity=entity,
                )
        return ask_consent(self._transport.base_url, self._grant)

    def exchange_code(self, entity: str, consent: Consent, *, code: str, state: str) -> None:
        """Swaps the code that the browser came back with for a session of the entity, and keeps it.

        Raises AuthenticationRefused, also if `state` is not the one that was sent, or if somebody
        else consented than the user of the entity. If that was the user of another entity, whose
        session ended by it, the new one is kept for that entity.
        """
        session = self._session(self._user(entity), entity)
        token, who = session.swap_code(consent, code=code, state=state)
        if who is None or who == session.user:
            session.keep(token)
            return
        others = [other for other, user in self._users.items() if user == who]
        for other in others:
            self._session(who, other).keep(token)
        kept = f" It was kept for {others[0]}, whose user that is." if others else ""
        raise AuthenticationRefused(
            f"{who} consented, and the user of {entity} is {session.user}: the browser was logged "
            f"in as {who}.{kept} Nothing was changed for {entity}.",
            remedy=f"Log out of Sage Intacct in the browser, or use a private window, and run "
            f"`intacct-dagster authorize {entity}` again as {session.user}.",
            entity=entity,
        )

    def ask_consent_of(self, user: str) -> Consent:
        """Return the page on which a user consents at the top level, for authorization_code."""
        if not isinstance(self._grant, AuthorizationCode):
            raise TypeError("client_credentials needs no consent")
        return ask_consent(self._transport.base_url, self._grant)

    def enter_top_level(self, user: str, consent: Consent, *, code: str, state: str) -> None:
        """End such a consent: `top_level(user)` works from then on.

        Raises AuthenticationRefused, also if `state` is not the one that was sent, or if somebody
        else consented; then nothing is kept.
        """
        session = self._session(user, None)
        token, who = session.swap_code(consent, code=code, state=state)
        if who not in (None, user):
            raise AuthenticationRefused(
                f"{who} consented, and not {user}: the browser was logged in as {who}.",
                remedy="Log out of Sage Intacct in the browser, or use a private window, and run "
                "the command again.",
            )
        session.keep(token)

    def stored_sessions(self) -> list[StoredSession]:
        """All sessions of this company and application that are kept, and those that are missing.

        Nothing is asked of Intacct. Raises NotReached if the store cannot be read.
        """
        prefix = f"{self._transport.host}/{self._grant.client_id}/"
        known: dict[tuple[str, str | None], None] = {
            (user, entity): None for entity, user in self._users.items()
        }
        for name in self._tokens.names():
            username, _, entity = name.removeprefix(prefix).partition("|")
            user, at, company = username.rpartition("@")
            if name.startswith(prefix) and at and company == self.company:
                known[user, entity or None] = None
        return [self._session(user, entity).stored() for user, entity in known]

    def revoke(self, user: str, entity: str | None) -> bool:
        """End a session at Intacct and forget it; False if there was none.

        It ends all tokens of that user in the company (reported by integrators).
        """
        return self._session(user, entity).revoke()

    def _client(self, user: str, entity: str | None) -> IntacctClient:
        session = self._session(user, entity)
        client = IntacctClient(session, self._transport, self._meter, self._executor)
        if self._xml is not None and self._xml_transport is not None:
            with self._sessions_lock:
                opened = self._xml_sessions.setdefault((user, entity), XmlSession(self._now))
            client.use_gateway(self._xml_transport, self._xml, opened)
        return client

    def _user(self, entity: str) -> str:
        if entity not in self._users:
            raise RequestRefused(
                f"Entity {entity} is not configured.",
                remedy=f"Configured are: {', '.join(sorted(self._users)) or 'none'}.",
                entity=entity,
            )
        return self._users[entity]

    def _session(self, user: str, entity: str | None) -> Session:
        with self._sessions_lock:
            if (user, entity) not in self._sessions:
                self._sessions[user, entity] = Session(
                    self._transport,
                    self._grant,
                    company=self.company,
                    user=user,
                    entity=entity,
                    store=self._tokens,
                    meter=self._meter,
                    now=self._now,
                    watch=self._watch,
                )
            return self._sessions[user, entity]


class IntacctClient:
    """Reads and writes at one entity, or at the top level. Thread-safe.

    Every method raises AuthenticationRefused, AccessDenied, NotReached, Throttled and (reads)
    RequestRefused, ServerFailed, AnswerNotUnderstood.
    """

    def __init__(
        self, session: Session, transport: Transport, total: Meter, executor: PriorityExecutor
    ) -> None:
        self._session = session
        self._transport = transport
        self._meter = Meter(total)
        self._executor = executor
        self._asked = itertools.count(random.randrange(_SPREAD))  # noqa: S311
        self._largest_page = LARGEST_PAGE
        self._gateway: XmlGateway | None = None

    def use_gateway(self, transport: Transport, access: XmlAccess, session: XmlSession) -> None:
        """Lets this client read what only the XML API has."""
        self._gateway = XmlGateway(
            transport,
            access,
            session,
            self._xml_session_id,
            user=self._session.user,
            entity=self.entity_id,
            meter=self._meter,
        )

    @property
    def entity_id(self) -> str | None:
        """The entity, or None at the top level."""
        return self._session.entity

    @property
    def usage(self) -> Usage:
        """What this client asked for; requests for tokens count only for the company."""
        return self._meter.usage

    def query(self, query: Query) -> QueryPage:
        """Return one page of a query."""
        if (only_xml := xml_object(query.object)) is not None:
            return self._xml_gateway(query.object).query(only_xml, query)
        about = About(self.entity_id, query.object)
        answer = self._send(
            "POST",
            "/services/core/query",
            Kind.READ,
            about,
            content=query.body(),
            headers={"Content-Type": "application/json"},
        )
        page = read_page(self._accepted(answer, about), about)
        self._meter.add(Usage(pages=1, transactions=1))
        return page

    def ask(self, query: Query) -> QueryPage:
        """One page of a query, which is known to be the answer to it: a little smaller at times.

        Raises AnswerNotUnderstood besides.

        An answer that is given a second time, to another question (by a connection that is out of
        step, or a cache in between), can look like a page of this one. What an answer tells of its
        question is `start` and `pageSize`: so the size differs a little from one request to the
        next, and only an answer that tells both as they were asked is taken.
        """
        asked, smaller = "", 0
        for _ in range(_TRIES_OF_AN_ANSWER):
            size = self._next_size(query.size, query.object)
            page = self.query(replace(query, size=size))
            if page.start in (None, query.start):
                if page.page_size == size:
                    return page
                if 0 < page.page_size == smaller:  # twice the same: pages are no larger here
                    self._largest_page = smaller
                smaller = min(page.page_size, size - 1)
            asked = f"for {size:,} rows from {query.start:,} on, and answered with a page of "
            asked += f"{page.page_size:,} from {page.start or query.start:,} on"
        about = About(self.entity_id, query.object)
        raise AnswerNotUnderstood(
            f"{about} was asked {asked}, after {_TRIES_OF_AN_ANSWER - 1} others like it.",
            remedy="Answers come to other questions than were asked: check any proxy in between. "
            "Nothing of them was used.",
            entity=about.entity,
            object=about.object,
        )

    def _next_size(self, wanted: int, object: str) -> int:
        number = next(self._asked)
        if wanted == 1:  # a count: a key more or less costs nothing
            return 1 + number % _KEYS_OF_A_COUNT
        largest = LARGEST_XML_PAGE if xml_object(object) is not None else LARGEST_PAGE
        most = min(wanted, self._largest_page, largest)
        return most - number % (min(_SPREAD, most // 8) + 1)

    def count(self, object: str, filters: Sequence[Filter] = ()) -> int:
        """Return how many rows match all `filters`. Costs one transaction."""
        counted = Query(object, ("key",), filters, size=1, parameters=self._parameters())
        return self.ask(counted).total_count

    def paginate(
        self,
        object: str,
        fields: Sequence[str],
        window: ChangeWindow | None,
        *,
        into: Path,
        page_size: int = LARGEST_PAGE,
        changed: str = CHANGED,
        filters: Sequence[Filter] = (),
        on_progress: OnProgress | None = None,
    ) -> PaginationResult:
        """Read every row of `object` that changed in `window`, proven complete, into files.

        Without a window it is every row there is. `key`, `changed` (the path of the change time)
        and `entity.id` are read with it (without a window, `key`). All `filters` must hold for a
        row as well. `on_progress` is called after each page with the rows read and expected.
        `into` is the caller's to delete; what was interrupted goes on where it finds its own pages
        there. Raises PaginationIncomplete and WrongEntity besides, also where no row shows it but
        the session is not in the entity; then nothing is left in it.
        """
        rank = self._executor.rank()

        def submit(query: Query) -> Future[QueryPage]:
            return self._executor.submit(rank, functools.partial(self.ask, query))

        # Twice what can be in flight: pages that come together are looked at one by one, and no
        # thread is idle meanwhile.
        ahead = 2 * self._executor.number if self._executor.number > 1 else 0
        result = paginate(
            PageSource(lambda query: submit(query).result(), submit, ahead),
            PageRequest(
                object,
                fields,
                window,
                entity=self.entity_id,
                page_size=page_size,
                parameters=self._parameters(),
                changed=changed,
                filters=filters,
            ),
            into=into,
            on_progress=on_progress,
        )
        self._meter.add(Usage(rows=result.proof.distinct_keys))
        if xml_object(object) is not None:  # each answer says which entity it is of
            return result
        if self.entity_id is not None and not result.proof.own_rows:
            try:
                self._prove_scope(object, fenced=window is not None or "entity.id" in fields)
            except WrongEntity:
                discard(into)
                raise
        elif self.entity_id is not None:
            self._session.proven = True
        return result

    def read_periods(
        self, object: str, fields: Sequence[str], first: date, last: date, *, into: Path
    ) -> PaginationResult:
        """Read every row of an object of the XML API that it gives by reporting period.

        Read are the budgetable periods that have a day from `first` to `last`: it answers for no
        others (Sage's XML developer documentation, account balances). Raises like `paginate`.
        """
        only_xml = xml_object(object)
        if only_xml is None or not only_xml.by_period:
            raise ValueError(f"{object} is not read by reporting period")
        between: tuple[Filter, ...] = (
            {"$lte": {"startDate": last.isoformat()}},
            {"$gte": {"endDate": first.isoformat()}},
        )
        periods = self._periods(between, LARGEST_PAGE)
        return self._xml_gateway(object).read_periods(only_xml, periods, fields, into)

    def try_reading(self, object: str) -> None:
        """Read next to nothing of `object`, to see whether it may be. Costs a transaction or two.

        Raises what reading it would raise.
        """
        only_xml = xml_object(object)
        if only_xml is None or not only_xml.by_period:
            self.count(object)
            return
        gateway = self._xml_gateway(object)
        for period in self._periods((), 1)[:1]:
            gateway.try_reading(only_xml, period)

    def _periods(self, filters: Sequence[Filter], most: int) -> list[str]:
        """Return names of budgetable reporting periods, the first ones first."""
        page = self.ask(
            Query(
                _PERIODS,
                ("id",),
                ({"$eq": {"isBudgetable": True}}, *filters),
                order_by=({"startDate": "asc"}, {"key": "asc"}),
                size=most,
                parameters=self._parameters(),
            )
        )
        return list(dict.fromkeys(str(row["id"]) for row in page.rows))

    def _xml_gateway(self, object: str) -> XmlGateway:
        if self._gateway is None:
            raise RequestRefused(
                f"{object} is read through the XML API, and no sender is configured for it.",
                entity=self.entity_id,
                object=object,
                remedy="Give `xml: {sender_id: …, sender_password: ${…}}` in intacct.yaml.",
            )
        return self._gateway

    def _xml_session_id(self) -> bytes:
        about = About(self.entity_id)
        answer = self._send("GET", "/services/core/session/id", Kind.READ, about)
        return self._accepted(answer, about)

    def prove_scope(self, object: str) -> None:
        """That this session is in its entity, before `object` is written there. Costs once.

        A record goes to the entity of the session that creates it, whatever was meant. Raises
        WrongEntity; at the top level, and where nothing in the company is private, it proves
        nothing.
        """
        if xml_object(object) is not None:
            self._xml_gateway(object).prove()
        elif self.entity_id is not None:
            self._prove_scope(object, fenced=True, at_once=True)

    def _prove_scope(self, object: str, *, fenced: bool, at_once: bool = False) -> None:
        """That this session is in its entity, where the rows that were read do not show it.

        A session at the top level (a header that is ignored, a token of another scope) is shown
        only what the company shares, and a day of the entity looks empty. `includePrivate` tells
        them apart: it adds what is private to entities at the top level, and nothing within one
        (Sage's OpenAPI, core-query). Where it adds nothing, nothing was hidden before, or
        the session is in an entity: in which one is shown by any private row that it sees, be it of
        another object. `at_once` asks also what may turn out not to matter, rather than wait.
        """
        if self._session.proven:
            return
        rank = self._executor.rank()

        def asked(number: Query) -> Future[int]:
            return self._executor.submit(rank, lambda: self.ask(number).total_count)

        def owner_of(other: str) -> Future[str | None]:
            return self._executor.submit(rank, functools.partial(self._owner_of_any, other))

        first = not self._session.asked_whose
        private: tuple[Filter, ...] = ({"$ne": {"entity.id": None}},) if fenced else ()
        everything = Query(object, ("key",), private, size=1, parameters={"includePrivate": True})
        counting = asked(everything)
        seeing = asked(replace(everything, parameters={})) if at_once else None
        owners = [owner_of(object)] if fenced and first else []
        there = counting.result()
        if there:
            seeing = seeing or asked(replace(everything, parameters={}))
            if fenced and not first:
                owners = [owner_of(object)]
        if first and not any(each.result() for each in owners):
            self._session.asked_whose = True
            owners += [owner_of(each) for each in MOSTLY_PRIVATE if not (fenced and each == object)]
        seen = seeing.result() if there and seeing else 0
        if seen < there:
            raise WrongEntity(
                f"{About(self.entity_id, object)}: the session is at the top level of the company, "
                f"where {there - seen:,} private rows are not shown; nothing of it was kept.",
                remedy=f"Check the user that is configured for {self.entity_id}, and that no proxy "
                "drops or renames X-IA-API-Param-Entity.",
                entity=self.entity_id,
                object=object,
            )
        for owner in owners:
            found = owner.result()
            if found not in (None, self.entity_id):
                raise WrongEntity(
                    f"{About(self.entity_id, object)}: the session sees what belongs to entity "
                    f"{found}; nothing of it was kept.",
                    remedy=f"The session is not bound to {self.entity_id}: check the user that is "
                    f"configured for {self.entity_id}, and that no proxy drops or renames "
                    f"{_ENTITY_HEADER}.",
                    entity=self.entity_id,
                    object=object,
                )
            if found is not None:
                self._session.proven = True
                return

    def _owner_of_any(self, object: str) -> str | None:
        """The entity of some row of `object` that is private to one, as this session sees it."""
        private: Filter = {"$ne": {"entity.id": None}}
        try:
            page = self.ask(Query(object, ("key", "entity.id"), (private,), size=1))
        except (RequestRefused, AccessDenied):  # not in this company, or not for this user
            return None
        return next((str(row["entity.id"]) for row in page.rows if row.get("entity.id")), None)

    def existing(self, object: str, keys: Sequence[str]) -> set[str]:
        """Return those of at most 3,900 `keys` that `object` still has, as this session sees it."""
        if not keys:
            return set()
        page = self.ask(
            Query(
                object,
                ("key",),
                ({"$in": {"key": list(keys)}},),
                size=LARGEST_PAGE,
                parameters=self._parameters(),
            )
        )
        found = {str(row["key"]) for row in page.rows}
        if page.total_count != len(found) or not found <= set(keys):
            raise AnswerNotUnderstood(
                f"{About(self.entity_id, object)} was asked for {len(keys):,} keys and answered "
                f"with {len(found):,} of {page.total_count:,}.",
                entity=self.entity_id,
                object=object,
            )
        return found

    def open_session(self) -> None:
        """That there is a session, which is asked for where none is kept. Asks for nothing else."""
        self._session.access_token()

    def objects(self) -> list[str]:
        """Return the names of all objects that the model service lists."""
        return object_names(self._model(About(self.entity_id), {}))

    def model(self, object: str) -> ObjectModel:
        """What `object` offers. Raises RequestRefused, with near matches, if there is no such."""
        if (only_xml := xml_object(object)) is not None:
            self._xml_gateway(object)
            return only_xml.model
        about = About(self.entity_id, object)
        result = self._model(about, {"name": object, "schema": "true"})
        if result:
            return read_model(result, object, about)
        near = difflib.get_close_matches(object, object_names(self._model(about, {})), n=3)
        raise RequestRefused(
            f"Sage Intacct knows no object {object}.",
            remedy=f"Did you mean {' or '.join(near)}?" if near else "Check its name.",
            entity=self.entity_id,
            object=object,
        )

    def known_model(self, object: str) -> ObjectModel:
        """Return the model as this session learned it first; it is asked for once."""
        models = self._session.models
        if object not in models:
            models[object] = self.model(object)
        return models[object]

    def get(self, object: str, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Whole records, nested, by key. Keys that Intacct does not know are not in the answer."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, dict[str, Any]] = {}
        for first in range(0, len(wanted), KEYS_IN_A_GET):
            part = self.records(object, wanted[first : first + KEYS_IN_A_GET])
            found |= {key: msgspec.json.decode(record) for key, record in part.items()}
        return found

    def records(self, object: str, keys: Sequence[str]) -> dict[str, bytes]:
        """Return at most 500 whole records by key, each as the exact bytes of its JSON object.

        Keys that Intacct does not know are not in the answer.
        """
        about = About(self.entity_id, object)
        path = f"{_object_path(object)}/{','.join(quote(key, safe='') for key in keys)}"
        answer = self._send("GET", path, Kind.READ, about)
        self._meter.add(Usage(transactions=1))
        if answer.status == 404:  # none of them is there
            return {}
        found = read_records(self._accepted(answer, about), about)
        if not found.keys() <= set(keys):
            raise AnswerNotUnderstood(
                f"{about} answered with a record that nobody asked for.",
                entity=about.entity,
                object=object,
            )
        return found

    def create_batch(
        self, object: str, body: bytes, count: int, idempotency_key: str, *, change: bool = False
    ) -> BatchResponse:
        """Create `count` records from `body`, a JSON array; return by position what became.

        With `change` they are changes of records that are there, each with the `key` of its record
        (developer portal, bulk requests: PATCH of a list goes to the address of the object).

        Sent once: it is repeated only where it certainly did nothing. Raises OutcomeUnknown if
        nobody knows what became of it. NotReached, Throttled, AuthenticationRefused and
        AccessDenied mean that nothing was created. ValueError: the batch is malformed, not sent.
        """
        about = About(self.entity_id, object)
        check_batch(body, count, idempotency_key)
        answer = self._send(
            "PATCH" if change else "POST",
            _object_path(object),
            Kind.WRITE,
            about,
            content=body,
            headers={"Content-Type": "application/json", "Idempotency-Key": idempotency_key},
        )
        if answer.status in (401, 403) or token_is_dead(answer):
            raise refusal(answer, about, self._session.user)
        outcomes = read_batch_response(answer, count, about)
        if not outcomes.replayed:
            self._meter.add(Usage(transactions=outcomes.created))
        return outcomes

    def _model(self, about: About, params: Mapping[str, str]) -> object:
        answer = self._send("GET", "/services/core/model", Kind.READ, about, params=params)
        return read_result(self._accepted(answer, about), about)

    def _parameters(self) -> dict[str, Scalar]:
        # At the top level, records private to an entity show only if asked for; within an entity
        # the parameter means nothing (Sage's OpenAPI, core-query).
        return {} if self.entity_id else {"includePrivate": True}

    def _send(
        self,
        method: str,
        path: str,
        kind: Kind,
        about: About,
        *,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send with the session's token; if that has died, once more with another.

        A dead token is found out at the door, before anything is done: also a write may go again.
        """

        def send(token: str) -> Response:
            scope = {"Authorization": f"Bearer {token}"}
            if self.entity_id is not None:
                scope[_ENTITY_HEADER] = self.entity_id
            return self._transport.send(
                method,
                path,
                kind=kind,
                meter=self._meter,
                about=about,
                headers={**scope, **(headers or {})},
                params=params,
                content=content,
            )

        token = self._session.access_token()
        answer = send(token)
        if token_is_dead(answer):
            answer = send(self._session.renew(dead=token))
        return answer

    def _accepted(self, answer: Response, about: About) -> bytes:
        if 200 <= answer.status < 300:
            return answer.body
        raise refusal(answer, about, self._session.user)


def _object_path(object: str) -> str:
    if not _OBJECT_NAME.fullmatch(object):
        raise NotReached(
            f"'{object}' is no name of an object.",
            remedy="It looks like accounts-payable/bill.",
            object=object,
        )
    return f"/objects/{quote(object)}"
