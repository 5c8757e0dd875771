"""What the token service is asked: for tokens, whose they are, and to revoke them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from intacct_dagster.client.auth.oauth import AuthorizationCode, ClientCredentials, Consent, Grant
from intacct_dagster.client.auth.tokens import Token
from intacct_dagster.client.errors import (
    About,
    AccessDenied,
    AuthenticationRefused,
    IntacctError,
    NotReached,
    OutcomeUnknown,
    ServerFailed,
    Throttled,
)
from intacct_dagster.client.http.rate_limit import RequestSlot
from intacct_dagster.client.http.responses import UNREADABLE, ApiError, read_error
from intacct_dagster.client.http.transport import Kind, Response, Transport
from intacct_dagster.client.http.usage import Meter

#: Seconds without a byte of the answer to a token request, and for all of it: it does little, and
#: meanwhile other processes wait for the same session.
TOKEN_TIMEOUT: Final = 20.0
TOKEN_SECONDS: Final = 30.0


class _TokenAnswer(msgspec.Struct):
    access_token: str
    expires_in: float
    refresh_token: str | None = None


class _Introspected(msgspec.Struct):
    active: bool = False
    user_id: str | None = None


class TryAgain(IntacctError):
    """A request of a token, to be made again after a pause; `error` is what came of this one."""

    def __init__(self, error: IntacctError) -> None:
        super().__init__(error.what, retry_after=error.retry_after)
        self.error = error


class Unanswered(IntacctError):
    """A request of a token that may have been carried out; `error` is what is raised for it."""

    def __init__(self, error: IntacctError) -> None:
        super().__init__(error.what)
        self.error = error


class TokenService:
    """The token service, asked for one user at one entity (None: the top level)."""

    def __init__(
        self,
        transport: Transport,
        grant: Grant,
        *,
        company: str,
        user: str,
        entity: str | None,
        meter: Meter,
        now: Callable[[], datetime],
    ) -> None:
        self.username = f"{user}@{company}" + (f"|{entity}" if entity else "")
        self._transport = transport
        self._grant = grant
        self.user = user
        self.entity = entity
        self._meter = meter
        self._now = now
        self._about = About(entity)

    def renewed(self, stored: Token | None, slot: RequestSlot) -> Token:
        """Return the token that takes the place of `stored`. Sent once, with a slot of the caller.

        Raises AuthenticationRefused, AccessDenied, NotReached, TryAgain and Unanswered.
        """
        form, kind = self.form_for(stored)
        asked_at = self._now()
        token = self._token_of(self._post_once(slot, "/oauth2/token", form, kind), asked_at)
        if isinstance(self._grant, ClientCredentials):
            # Nothing needs the refresh token that comes along; what is not kept cannot leak.
            return msgspec.structs.replace(token, refresh_token=None)
        if stored is None:
            raise AssertionError("unreachable: there was a refresh token to send")
        # An answer without a new refresh token means that the old one goes on (RFC 6749, 6).
        return msgspec.structs.replace(
            token,
            refresh_token=token.refresh_token or stored.refresh_token,
            consented_at=stored.consented_at,
        )

    def revoke(self, token: Token, slot: RequestSlot) -> None:
        """Revoke a token. Sent once, with a slot of the caller. Raises like `renewed`."""
        form = {
            "client_id": self._grant.client_id,
            "client_secret": self._grant.client_secret,
            "token": token.refresh_token or token.access_token,
        }
        # A read for us: what is revoked twice is revoked.
        answer = self._post_once(slot, "/oauth2/revoke", form, Kind.READ)
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)

    def swap_code(self, grant: AuthorizationCode, consent: Consent, code: str) -> Token:
        """Return the token for the code of a consent."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": grant.redirect_uri,
            "client_id": grant.client_id,
            "client_secret": grant.client_secret,
            "code_verifier": consent.verifier,
        }
        asked_at = self._now()
        answer = self._post("/oauth2/token", form, Kind.WRITE)
        try:
            return self._token_of(answer, asked_at)
        except Unanswered as unanswered:
            raise unanswered.error from None

    def form_for(self, stored: Token | None) -> tuple[dict[str, str], Kind]:
        """Return what is sent for a new token. Raises AuthenticationRefused if there is nothing."""
        grant = self._grant
        if isinstance(grant, ClientCredentials):
            # Asking again changes nothing for tokens given before, so it is repeated like a read.
            form = {
                "grant_type": "client_credentials",
                "client_id": grant.client_id,
                "client_secret": grant.client_secret,
                "username": self.username,
            }
            return form, Kind.READ
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
        return form, Kind.WRITE

    def _token_of(self, answer: Response, asked_at: datetime) -> Token:
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)
        try:
            given = msgspec.json.decode(answer.body, type=_TokenAnswer)
            expires_at = asked_at + timedelta(seconds=given.expires_in)
        except UNREADABLE as error:
            # The decoder's message may quote the body, which holds a token: it stays unsaid.
            raise Unanswered(
                NotReached(
                    f"The token service answered user {self.user} with something else than a token "
                    f"({type(error).__name__}).",
                    remedy="Check base_url and any proxy in between.",
                    entity=self.entity,
                    http_status=answer.status,
                )
            ) from None
        return Token(
            access_token=given.access_token,
            issued_at=asked_at,
            expires_at=expires_at,
            refresh_token=given.refresh_token,
        )

    def who_has(self, token: Token) -> str | None:
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
        except (IntacctError, *UNREADABLE):
            return None
        return answered.user_id if answer.status == 200 and answered.active else None

    def _post_once(
        self, slot: RequestSlot, path: str, form: Mapping[str, str], kind: Kind
    ) -> Response:
        """Send a form with the right to renew in hand: once, and nothing is waited for.

        Raises TryAgain where another try can do no harm, and Unanswered where nobody knows what
        became of it.
        """
        try:
            return self._transport.send_once(
                slot,
                "POST",
                path,
                kind=kind,
                meter=self._meter,
                about=self._about,
                form=form,
                patience=TOKEN_TIMEOUT,
                seconds=TOKEN_SECONDS,
            )
        except (NotReached, Throttled) as error:
            raise TryAgain(error) from error
        except OutcomeUnknown as error:
            if error.http_status == 503:  # another word for a throttle; it may well have been one
                throttled = Throttled(
                    f"Sage Intacct is throttling us at {self._about} (HTTP 503): the session of "
                    f"user {self.user} was not renewed.",
                    remedy="Run it again later, or lower the concurrency.",
                    entity=self.entity,
                    http_status=503,
                    retry_after=error.retry_after,
                )
                raise TryAgain(throttled) from error
            raise Unanswered(self._unanswered()) from error
        except ServerFailed as error:
            raise TryAgain(self._no_session(error)) from error
        except IntacctError as error:
            raise self._no_session(error) from error

    def _post(self, path: str, form: Mapping[str, str], kind: Kind) -> Response:
        """Send a form that no right is needed for, and again after pauses."""
        try:
            return self._transport.send(
                "POST",
                path,
                kind=kind,
                meter=self._meter,
                about=self._about,
                form=form,
                patience=TOKEN_TIMEOUT,
            )
        except (NotReached, Throttled):
            raise
        except OutcomeUnknown as error:
            raise self._unanswered() from error
        except IntacctError as error:
            raise self._no_session(error) from error

    def _unanswered(self) -> NotReached:
        return NotReached(
            f"The token service did not answer for user {self.user} at {self._about}.",
            remedy="The next use tries again with the last stored token; if that is refused, "
            "the user must consent once more.",
            entity=self.entity,
        )

    def _no_session(self, error: IntacctError) -> NotReached:
        return NotReached(
            f"No session for user {self.user} at {self._about}: {error.what}",
            remedy=error.remedy,
            entity=self.entity,
            http_status=error.http_status,
            retry_after=error.retry_after,
        )

    @property
    def _command(self) -> str:
        return f"Run `intacct-dagster authorize {self.entity or ''}".rstrip() + "`"

    @property
    def _consent_again(self) -> str:
        return f"{self._command}, and consent once more as that user."

    def _refusal(self, answer: Response) -> IntacctError:
        error = read_error(answer.body) or ApiError(
            None, f"HTTP {answer.status} without an explanation", None, None, None, ()
        )
        kind: type[IntacctError] = AuthenticationRefused
        what = f"Sage Intacct gives user {self.username} no session: {error.said}"
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
