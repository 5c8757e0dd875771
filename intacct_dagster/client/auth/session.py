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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

import msgspec

from intacct_dagster.client.auth.oauth import AuthorizationCode, ClientCredentials, Consent, Grant
from intacct_dagster.client.auth.tokens import Token, TokenStore, token_from_json
from intacct_dagster.client.errors import (
    About,
    AccessDenied,
    AuthenticationRefused,
    IntacctError,
    NoRequestSlot,
    NotReached,
    OutcomeUnknown,
    Throttled,
)
from intacct_dagster.client.http.responses import ApiError, read_error
from intacct_dagster.client.http.transport import (
    TOKEN_SLOT_WAIT,
    TOKEN_TIMEOUT,
    Kind,
    Response,
    Transport,
)
from intacct_dagster.client.http.usage import Meter
from intacct_dagster.client.model import ObjectModel

#: Times that a renewal is begun where no slot for its request is free: ten minutes in all.
_RENEWALS = 40


class _TokenAnswer(msgspec.Struct):
    access_token: str
    expires_in: float
    refresh_token: str | None = None


class _Introspected(msgspec.Struct):
    active: bool = False
    user_id: str | None = None


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
        self._username = f"{user}@{company}" + (f"|{entity}" if entity else "")
        # The host is part of the name: a token is never sent to a host that did not issue it.
        self._name = f"{transport.host}/{grant.client_id}/{self._username}"
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

    def access_token(self) -> str:
        """Return an access token that does not end within the next minutes."""
        token = self._token
        if token is not None and token.is_fresh(self._now(), self._jitter):
            return token.access_token
        return self.renew(dead=None)

    def renew(self, dead: str | None) -> str:
        """A token other than `dead`, which Intacct no longer accepts."""
        for _ in range(_RENEWALS - 1):
            try:
                return self._renewed(dead)
            except NoRequestSlot:
                # The right to renew was given back: who takes it next reads what others stored.
                continue
        return self._renewed(dead)

    def _renewed(self, dead: str | None) -> str:
        with self._renewing, self._store_errors_named(), self._sole_right():
            stored = token_from_json(self._store.get(self._name))
            if (
                stored is None
                or stored.access_token == dead
                or not stored.is_fresh(self._now(), self._jitter)
            ):
                stored = self._replace(stored)
            self._token, self.proven, self.asked_whose = stored, False, False
            return stored.access_token

    def _replace(self, stored: Token | None) -> Token:
        try:
            fresh = self._ask_for_token(stored)
        except AuthenticationRefused as error:
            # A lock may be a lease, and ours may have run out while we waited for Intacct. If
            # another process has renewed the session meanwhile, its token is the one that counts.
            newer = token_from_json(self._store.get(self._name))
            if newer is None or newer == stored or not newer.is_fresh(self._now(), self._jitter):
                refused = error.code == "invalid_grant" and isinstance(
                    self._grant, AuthorizationCode
                )
                if refused and newer is not None and newer == stored:
                    ended = msgspec.structs.replace(newer, ended=error.what)
                    with self._step(RefreshStep.END):
                        self._store.put(self._name, ended.to_json())
                raise
            return newer
        with self._step(RefreshStep.SAVE):
            self._store.put(self._name, fresh.to_json())
        return fresh

    @contextmanager
    def _sole_right(self) -> Iterator[None]:
        with ExitStack() as held:
            with self._step(RefreshStep.TAKE):
                held.enter_context(self._store.lock(self._name))
            yield
            with self._step(RefreshStep.GIVE_BACK):
                held.close()

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
        with self._renewing, self._store_errors_named(), self._store.lock(self._name):
            token = token_from_json(self._store.get(self._name))
            if token is not None:
                answer = self._post(
                    "/oauth2/revoke",
                    {
                        "client_id": self._grant.client_id,
                        "client_secret": self._grant.client_secret,
                        "token": token.refresh_token or token.access_token,
                    },
                    Kind.READ,  # what is revoked twice is revoked
                )
                if not 200 <= answer.status < 300:
                    raise self._refusal(answer)
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
        token = self._request(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": grant.redirect_uri,
                "client_id": grant.client_id,
                "client_secret": grant.client_secret,
                "code_verifier": consent.verifier,
            },
            Kind.WRITE,
        )
        if token.refresh_token is None:
            raise AuthenticationRefused(
                f"Sage Intacct gave no refresh token for user {self.user}.",
                remedy="The scope offline_access must be granted: authorize it again.",
                entity=self.entity,
            )
        return token, self._who_has(token)

    def keep(self, token: Token) -> None:
        """Keep a token that a consent of this session's user brought."""
        if self.entity is not None:
            # A code brings a token of the user's default place. Only a refresh binds it to an
            # entity, so this one counts as over and its refresh token is used first.
            token = msgspec.structs.replace(token, expires_at=token.issued_at)
        with self._store_errors_named(), self._store.lock(self._name):
            self._store.put(self._name, token.to_json())
        self._token = None

    def _who_has(self, token: Token) -> str | None:
        """Return the user whose token it is; None where Intacct does not tell.

        Clients of others ask `/oauth2/introspect` and read `user_id` (observed); Sage's public
        pages do not have it, so an answer of any other kind is no error.
        """
        try:
            answer = self._post(
                "/oauth2/introspect",
                {
                    "token": token.access_token,
                    "client_id": self._grant.client_id,
                    "client_secret": self._grant.client_secret,
                },
                Kind.READ,
            )
            answered = msgspec.json.decode(answer.body, type=_Introspected)
        except (IntacctError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return answered.user_id if answer.status == 200 and answered.active else None

    def _ask_for_token(self, stored: Token | None) -> Token:
        with self._step(RefreshStep.ASK):
            return self._asked_for_token(stored)

    def _asked_for_token(self, stored: Token | None) -> Token:
        grant = self._grant
        if isinstance(grant, ClientCredentials):
            # Asking again changes nothing for tokens given before, so it is repeated like a read.
            token = self._request(
                {
                    "grant_type": "client_credentials",
                    "client_id": grant.client_id,
                    "client_secret": grant.client_secret,
                    "username": self._username,
                },
                Kind.READ,
            )
            # Nothing needs the refresh token that comes along; what is not kept cannot leak.
            return msgspec.structs.replace(token, refresh_token=None)
        if stored is None or stored.refresh_token is None:
            raise AuthenticationRefused(
                f"User {self.user} has not yet authorized this application for {self._about}.",
                remedy=f"{self._command}, and consent in the browser as that user.",
                entity=self.entity,
            )
        if stored.ended is not None:
            raise AuthenticationRefused(
                stored.ended, remedy=self._consent_again, entity=self.entity, code="ended"
            )
        form = {
            "grant_type": "refresh_token",
            "refresh_token": stored.refresh_token,
            "client_id": grant.client_id,
            "client_secret": grant.client_secret,
        }
        if self.entity is not None:
            form["entity_id"] = self.entity
        token = self._request(form, Kind.WRITE)
        # An answer without a new refresh token means that the old one goes on (RFC 6749, 6).
        return msgspec.structs.replace(
            token, refresh_token=token.refresh_token or stored.refresh_token
        )

    def _request(self, form: Mapping[str, str], kind: Kind) -> Token:
        asked_at = self._now()
        answer = self._post("/oauth2/token", form, kind)
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)
        try:
            given = msgspec.json.decode(answer.body, type=_TokenAnswer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # The decoder's message may quote the body, which holds a token: it stays unsaid.
            raise NotReached(
                f"The token service answered user {self.user} with something else than a token "
                f"({type(error).__name__}).",
                remedy="Check base_url and any proxy in between.",
                entity=self.entity,
                http_status=answer.status,
            ) from None
        return Token(
            access_token=given.access_token,
            issued_at=asked_at,
            expires_at=asked_at + timedelta(seconds=given.expires_in),
            refresh_token=given.refresh_token,
        )

    def _post(self, path: str, form: Mapping[str, str], kind: Kind) -> Response:
        try:
            return self._transport.send(
                "POST",
                path,
                kind=kind,
                meter=self._meter,
                about=self._about,
                form=form,
                patience=TOKEN_TIMEOUT,
                slot_wait=TOKEN_SLOT_WAIT,
            )
        except (NotReached, Throttled):
            raise
        except OutcomeUnknown as error:
            raise NotReached(
                f"The token service did not answer for user {self.user} at {self._about}.",
                remedy="The next use tries again with the last stored token; if that is refused, "
                "the user must consent once more.",
                entity=self.entity,
            ) from error
        except IntacctError as error:
            raise NotReached(
                f"No session for user {self.user} at {self._about}: {error.what}",
                remedy=error.remedy,
                entity=self.entity,
                http_status=error.http_status,
            ) from error

    @property
    def _command(self) -> str:
        return f"Run `intacct-dagster authorize {self.entity or ''}".rstrip() + "`"

    @property
    def _consent_again(self) -> str:
        return (
            "Its authorization has ended (a second consent of the same user ends the first). "
            f"{self._command}, and consent once more as that user."
        )

    def _refusal(self, answer: Response) -> IntacctError:
        error = read_error(answer.body) or ApiError(
            None, f"HTTP {answer.status} without an explanation", None, None, None, ()
        )
        kind: type[IntacctError] = AuthenticationRefused
        what = f"Sage Intacct gives user {self._username} no session: {error.said}"
        said = error.said.lower()
        if answer.status == 403 and self.entity:
            kind = AccessDenied
            what = f"User {self.user} has no access to entity {self.entity}: {error.said}"
            remedy = f"Give it access: Company > Admin > Users > {self.user} > User entities."
        elif error.code == "invalid_grant":
            remedy = (
                self._consent_again
                if isinstance(self._grant, AuthorizationCode)
                else "Check the user id (its case counts) and that it is a Web Services user."
            )
        elif "client" in said or error.error_id == "REST-1216" or error.code == "invalid_client":
            remedy = (
                "Check client_id and client_secret, and that the company trusts the application: "
                "Company > Security > Authorized client applications."
            )
        elif answer.status == 404:
            remedy = "Check base_url: it ends in /ia/api/v1."
        else:
            entity = f"entity id {self.entity}, " if self.entity else ""
            remedy = (
                f"Check the company id, {entity}the user id (its case counts), and that it is a "
                "Web Services user."
            )
        return kind(
            what,
            remedy=remedy,
            entity=self.entity,
            http_status=answer.status,
            error_id=error.error_id,
            code=error.code,
            support_id=error.support_id,
            details=error.details,
        )

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
