"""Requests that carry a session's token and the entity it works in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from intacct_dagster.client.auth.session import Session
from intacct_dagster.client.errors import About, IntacctError
from intacct_dagster.client.http.error_mapping import refusal, token_is_dead
from intacct_dagster.client.http.transport import Kind, Response, Transport
from intacct_dagster.client.http.usage import Meter

# An unknown header is silently ignored and the answer is of the whole company (observed live), so
# the name is spelled in one place. It is the form with three hyphens that works.
ENTITY_HEADER: Final = "X-IA-API-Param-Entity"


class AuthorizedRequests:
    """Sends requests with the token of one session, counted by `meter`. Thread-safe."""

    def __init__(self, session: Session, transport: Transport, meter: Meter) -> None:
        self._session = session
        self._transport = transport
        self._meter = meter
        self._entity = session.entity

    def send(
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
            if self._entity is not None:
                scope[ENTITY_HEADER] = self._entity
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

    def accepted(self, answer: Response, about: About) -> bytes:
        """Return the body of an answer; raise what it means if it is not a success."""
        if 200 <= answer.status < 300:
            return answer.body
        raise self.error(answer, about)

    def error(self, answer: Response, about: About) -> IntacctError:
        """Return what an answer that is no success means, to be raised."""
        return refusal(answer, about, self._session.user)
