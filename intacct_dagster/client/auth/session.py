"""One OAuth session: an access token that is renewed in time, once, and saved before it is used.

Whatever number of threads and processes share a session, one of them renews it: the store's lock is
taken, the stored token is read again, and only if nobody else has renewed it meanwhile is a new one
asked for. With authorization_code each renewal brings a new refresh token and the old one may die
at once, so the new pair is on disk before it is used.
"""

from __future__ import annotations

import hmac
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from time import monotonic
from typing import Literal

import msgspec

from intacct_dagster.client.auth.ended import why_it_ended
from intacct_dagster.client.auth.oauth import AuthorizationCode, ClientCredentials, Consent, Grant
from intacct_dagster.client.auth.sole_right import SoleRight
from intacct_dagster.client.auth.token_service import (
    TOKEN_SECONDS,
    TokenService,
    TryAgain,
    Unanswered,
)
from intacct_dagster.client.auth.tokens import (
    RENEWAL_SECONDS,
    Token,
    TokenStore,
    token_from_json,
)
from intacct_dagster.client.errors import (
    About,
    AuthenticationRefused,
    IntacctError,
    NotReached,
)
from intacct_dagster.client.http.rate_limit import RequestSlot
from intacct_dagster.client.http.transport import Transport, another_try
from intacct_dagster.client.http.usage import Meter
from intacct_dagster.client.model import ObjectModel


class RefreshStep(StrEnum):
    """Every step of a renewal that lasts (a commit) or leaves this process (a request).

    The process may die before and after each; a test kills it there and looks what came of it.
    """

    TAKE = "take the right to renew"
    ASK = "ask Intacct for a new token"
    SAVE = "keep the new token"
    END = "note that the authorization has ended"
    GIVE_BACK = "let the next one renew"


#: Called with each step, before it ("before") and once it is done ("after").
RefreshWatch = Callable[[RefreshStep, str], None]


def unwatched(step: RefreshStep, moment: str) -> None:
    """Nobody looks on."""


@dataclass(frozen=True)
class StoredSession:
    """What is known of a session without asking Intacct. `entity` is None at the top level.

    `state`: "alive" (its access token counts until `until`), "due" (it is renewed by whoever needs
    it next), "ended" (Intacct said `why`; only a person can correct it), or "missing".
    """

    user: str
    entity: str | None
    state: Literal["alive", "due", "ended", "missing"]
    until: datetime | None = None
    why: str | None = None


class Session:
    """The session of one Sage user at one entity (None: the top level). Thread-safe.

    Its methods raise AuthenticationRefused, AccessDenied, Throttled or NotReached and nothing else
    of this tree: whatever goes wrong here, the request that wanted the session was never sent.
    """

    def __init__(  # noqa: PLR0913 - keyword options, passed by `Intacct` alone
        self,
        transport: Transport,
        grant: Grant,
        *,
        company: str,
        user: str,
        entity: str | None,
        store: TokenStore,
        meter: Meter,
        now: Callable[[], datetime],
        watch: RefreshWatch = unwatched,
    ) -> None:
        self.user = user
        self.entity = entity
        self._transport = transport
        self._grant = grant
        self._store = store
        self._meter = meter
        self._now = now
        self._watch = watch
        self._about = About(entity)
        self._service = TokenService(
            transport, grant, company=company, user=user, entity=entity, meter=meter, now=now
        )
        # The host is part of the name: a token is never sent to a host that did not issue it.
        self._name = f"{transport.host}/{grant.client_id}/{self._service.username}"
        # Processes that started together would otherwise all come to renew at the same moment.
        self._jitter = timedelta(seconds=random.uniform(0, 60))  # noqa: S311
        self._token: Token | None = None
        #: rows have shown that the token in use is bound to `entity`
        self.proven = False
        #: whether it was looked for in other objects, which need not be done for each
        self.asked_whose = False
        #: what this session learned of objects, by name
        self.models: dict[str, ObjectModel] = {}
        self._renewing = threading.Lock()
        self._sole_right = SoleRight(
            store,
            self._name,
            transport,
            self._about,
            lambda: self._step(RefreshStep.TAKE),
            lambda: self._step(RefreshStep.GIVE_BACK),
        )

    def access_token(self) -> str:
        """Return an access token that does not end within the next minutes."""
        token = self._token
        if token is not None and token.is_fresh(self._now(), self._jitter):
            return token.access_token
        return self.renew(dead=None)

    def renew(self, dead: str | None) -> str:
        """A token other than `dead`, which Intacct no longer accepts.

        Where Intacct asks for a pause, it is made with nothing in hand; then the store is read
        again, for another process may have renewed the session meanwhile.
        """
        try:
            for attempt in another_try((TryAgain,)):
                with attempt:
                    return self._renewed(dead)
        except TryAgain as again:
            raise again.error from again.error.__cause__
        raise AssertionError("unreachable: the last try returns or raises")

    def _renewed(self, dead: str | None) -> str:
        stored: Token | None = None
        began = 0.0

        def usable() -> Token | None:
            nonlocal stored, began
            began = monotonic()
            stored = token_from_json(self._store.get(self._name))
            if (
                stored is None
                or stored.access_token == dead
                or not stored.is_fresh(self._now(), self._jitter)
            ):
                return None
            return stored

        with self._renewing, self._store_errors_named():
            token = self._sole_right.use(usable, lambda slot: self._replace(stored, slot, began))
            self._token, self.proven, self.asked_whose = token, False, False
            return token.access_token

    def _replace(self, stored: Token | None, slot: RequestSlot, began: float) -> Token:
        """Ask for a new token in place of `stored`, with the right to do so since `began`."""
        self._service.form_for(stored)  # raises where there is nothing to ask with
        if monotonic() - began > RENEWAL_SECONDS - TOKEN_SECONDS:
            raise TryAgain(
                NotReached(
                    f"The session of user {self.user} at {self._about} was not renewed: the store "
                    "of sessions is too slow.",
                    remedy="Look at the disk or the database of the state store.",
                    entity=self.entity,
                )
            )
        try:
            with self._step(RefreshStep.ASK):
                fresh = self._service.renewed(stored, slot)
        except AuthenticationRefused as error:
            return self._renewed_by_others(stored, error)
        except Unanswered as unanswered:
            self._note_unanswered(stored)
            raise unanswered.error from unanswered.error.__cause__
        with self._step(RefreshStep.SAVE):
            self._store.put(self._name, fresh.to_json())
        return fresh

    def _renewed_by_others(self, stored: Token | None, error: AuthenticationRefused) -> Token:
        """Return the token that another process stored meanwhile, or raise why there is none."""
        # Our lease may have run out while this machine slept: then the store says what counts.
        newer = token_from_json(self._store.get(self._name))
        if stored is None or isinstance(self._grant, ClientCredentials):
            raise error
        if newer is not None and newer.refresh_token != stored.refresh_token:
            if newer.is_fresh(self._now(), self._jitter):
                return newer
            what = (
                f"The session of user {self.user} at {self._about} was renewed by another process "
                "meanwhile, and its refresh token used."
            )
            raise TryAgain(NotReached(what, remedy="Run it again.", entity=self.entity)) from error
        if error.code != "invalid_grant":
            raise error
        if newer is None:
            error.what = f"{error.what} (the session was revoked here meanwhile)"
            raise error
        why = why_it_ended(error.what, newer, self._others_of_user())
        error.what = f"{error.what.rstrip('.')}. The authorization has ended: {why}."
        with self._step(RefreshStep.END):
            ended = msgspec.structs.replace(newer, ended=error.what)
            self._store.put(self._name, ended.to_json())
        raise error

    def _others_of_user(self) -> Iterator[tuple[str, Token]]:
        """Yield the other sessions of this user that are stored, each with its place in words."""
        prefix = f"{self._transport.host}/{self._grant.client_id}/"
        for name in self._store.names():
            username, _, entity = name.removeprefix(prefix).partition("|")
            if (
                name.startswith(prefix)
                and name != self._name
                and username == self._service.username.partition("|")[0]
                and (token := token_from_json(self._store.get(name))) is not None
            ):
                yield str(About(entity or None)), token

    def _note_unanswered(self, stored: Token | None) -> None:
        if stored is None or isinstance(self._grant, ClientCredentials):
            return
        noted = msgspec.structs.replace(stored, unanswered_at=self._now())
        self._store.put(self._name, noted.to_json())

    @contextmanager
    def _step(self, step: RefreshStep) -> Iterator[None]:
        self._watch(step, "before")
        yield
        self._watch(step, "after")

    def stored(self) -> StoredSession:
        """What is known of it without asking Intacct. Raises NotReached if the store fails."""
        with self._store_errors_named():
            token = token_from_json(self._store.get(self._name))
        if token is None:
            return StoredSession(self.user, self.entity, "missing")
        if token.ended is not None:
            return StoredSession(self.user, self.entity, "ended", why=token.ended)
        alive = self._now() < token.expires_at
        return StoredSession(
            self.user, self.entity, "alive" if alive else "due", until=token.expires_at
        )

    def revoke(self) -> bool:
        """End it at Intacct and forget it; False if there was none.

        Revoking one token ends all tokens of that user in the company (reported by integrators, who
        quote Sage's page on revoking).
        """
        try:
            for attempt in another_try((TryAgain,)):
                with attempt, self._renewing, self._store_errors_named():
                    return self._sole_right.use(self._forgotten, self._revoke)
        except TryAgain as again:
            raise again.error from again.error.__cause__
        raise AssertionError("unreachable: the last try returns or raises")

    def _forgotten(self) -> bool | None:
        """Return False if nothing is kept that could be revoked."""
        if token_from_json(self._store.get(self._name)) is not None:
            return None
        self._store.delete(self._name)
        self._token = None
        return False

    def _revoke(self, slot: RequestSlot) -> bool:
        token = token_from_json(self._store.get(self._name))
        if token is not None:
            self._service.revoke(token, slot)
        self._store.delete(self._name)
        self._token = None
        return token is not None

    def exchange_code(self, consent: Consent, *, code: str, state: str) -> None:
        """End a consent: swap the code that the browser brought for a stored session.

        Raises AuthenticationRefused also if `state` is not the one that was sent.
        """
        token, _ = self.swap_code(consent, code=code, state=state)
        self.keep(token)

    def swap_code(self, consent: Consent, *, code: str, state: str) -> tuple[Token, str | None]:
        """Return the token for a code, and the id of the user who consented; nothing is kept yet.

        The id is None where Intacct does not tell. Raises like `exchange_code`.
        """
        grant = self._grant
        if not isinstance(grant, AuthorizationCode):
            raise TypeError("client_credentials needs no consent")
        if not hmac.compare_digest(consent.state.encode(), state.encode()):
            raise AuthenticationRefused(
                f"The consent for user {self.user} came back with another state than was sent.",
                remedy="Somebody may have tampered with it: authorize it again.",
                entity=self.entity,
            )
        token = self._service.swap_code(grant, consent, code)
        if token.refresh_token is None:
            raise AuthenticationRefused(
                f"Sage Intacct gave no refresh token for user {self.user}.",
                remedy="The scope offline_access must be granted: authorize it again.",
                entity=self.entity,
            )
        return token, self._service.who_has(token)

    def keep(self, token: Token) -> None:
        """Keep a token that a consent of this session's user brought."""
        if self.entity is not None:
            # A code brings a token of the user's default place. Only a refresh binds it to an
            # entity, so this one counts as over and its refresh token is used first.
            token = msgspec.structs.replace(token, expires_at=token.issued_at)
        token = msgspec.structs.replace(token, consented_at=token.issued_at)
        with self._store_errors_named(), self._store.lock(self._name):
            self._store.put(self._name, token.to_json())
        self._token = None

    @contextmanager
    def _store_errors_named(self) -> Iterator[None]:
        # A store that fails must look to a write like what it is: nothing was sent.
        try:
            yield
        except IntacctError:
            raise
        except Exception as error:
            raise NotReached(
                f"The stored session of user {self.user} at {self._about} is out of reach: {error}",
                entity=self.entity,
            ) from error
