"""Notices to people: Slack, e-mail, plain HTTP. Addresses and passwords come from the environment.

They are read when something is sent, and are in no message, log or error.
"""

from __future__ import annotations

import logging
import os
import smtplib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from email.message import EmailMessage

import httpx

from intacct_dagster.config import Email, Notification

_SECONDS = 10.0


@dataclass(frozen=True)
class Notice:
    """What a person is told: of which entity and days, why, and what to do."""

    title: str
    entity: str
    days: str
    reason: str
    what_to_do: str
    severity: str
    link: str | None = None

    @property
    def text(self) -> str:
        """The same as lines."""
        lines = [
            self.title,
            f"Entity: {self.entity or 'all'}. Days: {self.days or 'all'}.",
            self.reason,
            f"What to do: {self.what_to_do}" if self.what_to_do else "",
            self.link or "",
        ]
        return "\n".join(each for each in lines if each)


class NotSent(Exception):
    """A notice did not go out; the message names the way and why, and no secret."""


class Notifier:
    """Sends notices the ways that are configured. `transport` takes the place of the network and
    `smtp` that of `smtplib.SMTP`, in tests."""

    def __init__(
        self,
        ways: Sequence[Notification],
        environment: Mapping[str, str] = os.environ,
        *,
        transport: httpx.BaseTransport | None = None,
        smtp: Callable[..., smtplib.SMTP] = smtplib.SMTP,
    ) -> None:
        self._ways = ways
        self._environment = environment
        self._transport = transport
        self._smtp = smtp

    def send(self, notices: Sequence[Notice]) -> list[str]:
        """Sends the notices every way that wants them; what could not be sent, in words.

        A way that failed once is not tried for the notices after it. Nothing is raised.
        """
        failed: list[str] = []
        for way in self._ways:
            for notice in notices:
                if way.severity == "error" and notice.severity != "error":
                    continue
                try:
                    self._send(way, notice)
                except NotSent as error:
                    failed.append(str(error))
                    break
        return failed

    def _send(self, way: Notification, notice: Notice) -> None:
        if way.slack is not None:
            self._post("Slack", way.slack, {"text": notice.text})
        elif way.http is not None:
            self._post("HTTP", way.http, asdict(notice))
        elif way.email is not None:
            self._mail(way.email, notice)

    def _post(self, way: str, variable: str, body: Mapping[str, object]) -> None:
        try:
            with (
                _unlogged("httpx", "httpcore"),
                httpx.Client(transport=self._transport, timeout=_SECONDS) as client,
            ):
                answer = client.post(self._secret(way, variable), json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # the text of these errors may have the address, which is a secret
            raise NotSent(f"{way}: the address in {variable} {_why(error)}") from None
        if answer.status_code >= 300:
            raise NotSent(f"{way}: the address in {variable} answered {answer.status_code}")

    def _mail(self, mail: Email, notice: Notice) -> None:
        if mail.user is not None and not mail.starttls:  # refused in settings; not in model_copy
            raise NotSent(f"e-mail: {mail.host}:{mail.port} gets no password without `starttls`")
        message = EmailMessage()
        message["From"], message["To"] = mail.sender, ", ".join(mail.to)
        message["Subject"] = " ".join(notice.title.splitlines())
        message.set_content(notice.text)
        try:
            with self._smtp(mail.host, mail.port, timeout=_SECONDS) as server:
                if mail.starttls:
                    # smtplib's own default verifies neither the certificate nor the name
                    server.starttls(context=ssl.create_default_context())
                if mail.user is not None and mail.password is not None:
                    server.login(
                        self._secret("e-mail", mail.user), self._secret("e-mail", mail.password)
                    )
                server.send_message(message)
        except ssl.SSLCertVerificationError as error:
            raise NotSent(
                f"e-mail: the certificate of {mail.host}:{mail.port} is not trusted "
                f"({error.verify_message}), so nothing was sent. If it is signed by a CA of your "
                "own, name its file in SSL_CERT_FILE"
            ) from None
        except (OSError, smtplib.SMTPException) as error:
            raise NotSent(f"e-mail: {mail.host}:{mail.port} {_why(error)}") from None

    def _secret(self, way: str, variable: str) -> str:
        value = self._environment.get(variable)
        if not value:
            raise NotSent(f"{way}: the environment variable {variable} is not set")
        return value


@contextmanager
def _unlogged(*names: str) -> Iterator[None]:
    """These loggers say nothing of what this thread does: httpx would log the address."""
    thread = threading.get_ident()

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    loggers = [logging.getLogger(name) for name in names]
    for each in loggers:
        each.addFilter(of_others)
    try:
        yield
    finally:
        for each in loggers:
            each.removeFilter(of_others)


def _why(error: Exception) -> str:
    return f"could not be used ({type(error).__name__})"
