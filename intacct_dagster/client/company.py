"""A company of Sage Intacct: its sessions and its limits, and one client for each entity."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType

import httpx

from intacct_dagster.client.auth.oauth import AuthorizationCode, Consent, Grant, ask_consent
from intacct_dagster.client.auth.session import RefreshWatch, Session, StoredSession, unwatched
from intacct_dagster.client.auth.tokens import MemoryTokenStore, TokenStore
from intacct_dagster.client.entity_client import IntacctClient
from intacct_dagster.client.errors import About, AuthenticationRefused, RequestRefused
from intacct_dagster.client.http.bounds import DEFAULT_BOUNDS, Bounds
from intacct_dagster.client.http.machine_clock import wall_clock
from intacct_dagster.client.http.priority_executor import PriorityExecutor
from intacct_dagster.client.http.rate_limit import RateLimiter, SharedSlots
from intacct_dagster.client.http.transport import Kind, Transport
from intacct_dagster.client.http.usage import Meter, Usage
from intacct_dagster.client.xml.access import XmlAccess, XmlSession


def _now() -> datetime:
    return datetime.now(UTC)


class Intacct:
    """One company of Sage Intacct. Thread-safe; close it, or use it in a `with`.

    `base_url` is the API root ("https://api.intacct.com/ia/api/v1"), `users` maps entity ids to the
    Sage users whose sessions read and write them. `tokens` keeps sessions (default: in memory),
    `concurrency` is how many requests may be in flight at once, over all clients and threads;
    `slots` are those that all processes share, and are closed with this.
    `transport` takes the place of the network and `now` that of the clock (aware UTC); `watch` is
    called with each step of a renewal. Objects that only the XML API has need `xml`. `bounds` are
    those of one request; `wall` is the clock of this machine, which nothing is posted by if it is
    wrong.
    """

    def __init__(  # noqa: PLR0913 - options of a public constructor, most with a default
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
        bounds: Bounds = DEFAULT_BOUNDS,
        wall: Callable[[], datetime] = wall_clock,
    ) -> None:
        self.company = company
        self._grant = grant
        self._users = dict(users)
        self._tokens = tokens if tokens is not None else MemoryTokenStore()
        self._slots = slots
        limiter = RateLimiter(concurrency, shared=slots)
        self._transport = Transport(base_url, transport, limiter, bounds, wall)
        self._xml = xml
        self._xml_transport = (
            Transport(xml.url, transport, limiter, bounds, wall) if xml is not None else None
        )
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

    @property
    def server_time(self) -> datetime | None:
        """The time by Intacct's clock, as its latest answer has it; None if none had a date."""
        return self._transport.server_time

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
    def entities(self) -> tuple[str, ...]:
        """The ids of the entities, in the order in which they were given."""
        return tuple(self._users)

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
