"""The client of one entity, or of the top level: reads, writes, and proves whose rows it got."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from intacct_dagster.client.auth.session import Session
from intacct_dagster.client.authorized import AuthorizedRequests
from intacct_dagster.client.batch import BatchResponse, check_batch, read_batch_response
from intacct_dagster.client.errors import (
    About,
    AnswerNotUnderstood,
    ClockWrong,
    IntacctError,
    NotReached,
    RequestRefused,
    ServerFailed,
    WrongEntity,
)
from intacct_dagster.client.http.error_mapping import token_is_dead
from intacct_dagster.client.http.failures import unknown, words_of
from intacct_dagster.client.http.priority_executor import PriorityExecutor
from intacct_dagster.client.http.responses import read_records, read_result
from intacct_dagster.client.http.transport import Kind, Transport
from intacct_dagster.client.http.usage import Meter, Usage
from intacct_dagster.client.matched_query import MatchedQueries
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
from intacct_dagster.client.query import LARGEST_PAGE, Filter, Query, QueryPage, read_page
from intacct_dagster.client.scope import EntityScope
from intacct_dagster.client.xml.access import XmlAccess, XmlSession
from intacct_dagster.client.xml.gateway import XmlGateway
from intacct_dagster.client.xml.objects import xml_object

#: The most keys in one GET (developer portal, bulk requests).
KEYS_IN_A_GET: Final = 500

_PERIODS: Final = "general-ledger/reporting-period"
_OBJECT_NAME = re.compile(r"[A-Za-z0-9-]+(/[A-Za-z0-9:_. -]+)+")


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
        self._requests = AuthorizedRequests(session, transport, self._meter)
        self._matched = MatchedQueries(session.entity, self.query)
        self._scope = EntityScope(session, executor, self.ask)
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
    def user(self) -> str:
        """The Sage user of the session."""
        return self._session.user

    @property
    def usage(self) -> Usage:
        """What this client asked for; requests for tokens count only for the company."""
        return self._meter.usage

    def query(self, query: Query) -> QueryPage:
        """Return one page of a query."""
        if (only_xml := xml_object(query.object)) is not None:
            return self._xml_gateway(query.object).query(only_xml, query)
        about = About(self.entity_id, query.object)
        answer = self._requests.send(
            "POST",
            "/services/core/query",
            Kind.READ,
            about,
            content=query.body(),
            headers={"Content-Type": "application/json"},
        )
        page = read_page(self._requests.accepted(answer, about), about, answer.date)
        self._meter.add(Usage(pages=1, transactions=1))
        return page

    def ask(self, query: Query) -> QueryPage:
        """Return one page of a query, known to be the answer to it: a little smaller at times.

        Raises AnswerNotUnderstood besides.
        """
        return self._matched.ask(query)

    def count(self, object: str, filters: Sequence[Filter] = ()) -> int:
        """Return how many rows match all `filters`. Costs one transaction."""
        counted = Query(object, ("key",), filters, size=1, parameters=self._scope.parameters)
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
                parameters=self._scope.parameters,
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
                self._scope.prove(object, fenced=window is not None or "entity.id" in fields)
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
                parameters=self._scope.parameters,
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
        answer = self._requests.send("GET", "/services/core/session/id", Kind.READ, about)
        return self._requests.accepted(answer, about)

    def prove_scope(self, object: str) -> None:
        """That this session is in its entity, before `object` is written there. Costs once.

        A record goes to the entity of the session that creates it, whatever was meant. Raises
        WrongEntity; at the top level, and where nothing in the company is private, it proves
        nothing.
        """
        if xml_object(object) is not None:
            self._xml_gateway(object).prove()
        elif self.entity_id is not None:
            self._scope.prove(object, fenced=True, at_once=True)

    @property
    def most_clock_skew(self) -> timedelta:
        """How far the clock of this machine may be off before nothing is posted."""
        return self._transport.clock.most

    def check_clock(self, object: str) -> None:
        """Raise ClockWrong if the clock of this machine is too far from that of Intacct.

        Intacct's latest answer is enough where it is of the last minute and the clock was not set
        since; otherwise it is asked for the time, without a session. Raises NotReached and
        Throttled if it cannot be asked.
        """
        about = About(self.entity_id, object)

        def ask() -> None:
            self._transport.send(
                "GET", "/services/core/model", kind=Kind.READ, meter=self._meter, about=about
            )

        try:
            self._transport.clock.check(ask, f"Nothing is sent or settled of {about}")
        except ClockWrong as error:
            error.entity, error.object = self.entity_id, object
            raise
        except (ServerFailed, AnswerNotUnderstood) as error:
            raise NotReached(
                f"Nothing is sent or settled of {about}: Intacct cannot be asked for the time. "
                f"{error.what}",
                remedy=error.remedy,
                entity=self.entity_id,
                object=object,
            ) from error

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
                parameters=self._scope.parameters,
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
        answer = self._requests.send("GET", path, Kind.READ, about)
        self._meter.add(Usage(transactions=1))
        if answer.status == 404:  # none of them is there
            return {}
        found = read_records(self._requests.accepted(answer, about), about)
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
        method, path = "PATCH" if change else "POST", _object_path(object)
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}

        def outcomes_of_sending() -> BatchResponse:
            answer = self._requests.send(
                method, path, Kind.WRITE, about, content=body, headers=headers
            )
            if answer.status in (401, 403) or token_is_dead(answer):
                raise self._requests.error(answer, about)
            return read_batch_response(answer, count, about)

        try:
            outcomes = outcomes_of_sending()
        except IntacctError:
            raise
        except Exception as error:  # whatever it is, a byte may have left
            what = f"the answer cannot be used: {words_of(error)}"
            raise unknown(what, about, None) from error
        if not outcomes.replayed:
            self._meter.add(Usage(transactions=outcomes.created))
        return outcomes

    def _model(self, about: About, params: Mapping[str, str]) -> object:
        answer = self._requests.send("GET", "/services/core/model", Kind.READ, about, params=params)
        return read_result(self._requests.accepted(answer, about), about)


def _object_path(object: str) -> str:
    if not _OBJECT_NAME.fullmatch(object):
        raise NotReached(
            f"'{object}' is no name of an object.",
            remedy="It looks like accounts-payable/bill.",
            object=object,
        )
    return f"/objects/{quote(object)}"
