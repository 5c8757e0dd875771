"""Send alerts to people by Slack, e-mail or HTTP.

Addresses and passwords come from environment variables. They are read when something is sent, and
appear in no message, log or error.
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
class Alert:
    """A message to a person: the entity, the days, the reason, and what to do."""

    title: str
    entity: str
    days: str
    reason: str
    what_to_do: str
    severity: str
    link: str | None = None

    @property
    def text(self) -> str:
        """The alert as lines of text."""
        lines = [
            self.title,
            f"Entity: {self.entity or 'all'}. Days: {self.days or 'all'}.",
            self.reason,
            f"What to do: {self.what_to_do}" if self.what_to_do else "",
            self.link or "",
        ]
        return "\n".join(each for each in lines if each)


class NotSent(Exception):
    """An alert was not sent. The message names the channel and the reason, and no secret."""


class AlertSender:
    """Sends alerts through the configured channels.

    Tests replace the network by `transport` and `smtplib.SMTP` by `smtp`.
    """

    def __init__(
        self,
        channels: Sequence[Notification],
        environment: Mapping[str, str] = os.environ,
        *,
        transport: httpx.BaseTransport | None = None,
        smtp: Callable[..., smtplib.SMTP] = smtplib.SMTP,
    ) -> None:
        self._channels = channels
        self._environment = environment
        self._transport = transport
        self._smtp = smtp

    def send(self, alerts: Sequence[Alert]) -> list[str]:
        """Send the alerts through every channel that wants them. Never raises.

        A channel that failed once is not tried for the alerts after it.

        Returns:
            A message for each channel that failed.
        """
        failed: list[str] = []
        for channel in self._channels:
            for alert in alerts:
                if channel.severity == "error" and alert.severity != "error":
                    continue
                try:
                    self._send(channel, alert)
                except NotSent as error:
                    failed.append(str(error))
                    break
        return failed

    def _send(self, channel: Notification, alert: Alert) -> None:
        if channel.slack is not None:
            self._post("Slack", channel.slack, {"text": alert.text})
        elif channel.http is not None:
            self._post("HTTP", channel.http, asdict(alert))
        elif channel.email is not None:
            self._mail(channel.email, alert)

    def _post(self, channel: str, variable: str, body: Mapping[str, object]) -> None:
        try:
            with (
                _unlogged("httpx", "httpcore"),
                httpx.Client(transport=self._transport, timeout=_SECONDS) as client,
            ):
                answer = client.post(self._secret(channel, variable), json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # the text of these errors may have the address, which is a secret
            raise NotSent(f"{channel}: the address in {variable} {_why(error)}") from None
        if answer.status_code >= 300:
            raise NotSent(f"{channel}: the address in {variable} answered {answer.status_code}")

    def _mail(self, mail: Email, alert: Alert) -> None:
        if mail.user is not None and not mail.starttls:  # refused in settings; not in model_copy
            raise NotSent(f"e-mail: {mail.host}:{mail.port} gets no password without `starttls`")
        message = EmailMessage()
        message["From"], message["To"] = mail.sender, ", ".join(mail.to)
        message["Subject"] = " ".join(alert.title.splitlines())
        message.set_content(alert.text)
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

    def _secret(self, channel: str, variable: str) -> str:
        value = self._environment.get(variable)
        if not value:
            raise NotSent(f"{channel}: the environment variable {variable} is not set")
        return value


@contextmanager
def _unlogged(*names: str) -> Iterator[None]:
    """Silence these loggers for this thread: httpx would log the address, which is a secret."""
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
