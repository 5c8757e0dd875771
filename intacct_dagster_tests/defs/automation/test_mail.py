"""Alerts by e-mail reach a server whose certificate is trusted, and no other gets a password."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import ValidationError

from intacct_dagster.config import Email, Notification
from intacct_dagster.defs.automation.alert_channels import Alert, AlertSender

SECRETS = {"SMTP_USER": "books", "SMTP_PASSWORD": "smtp-pw-0815"}
NOTICE = Alert("Run failed", "E110", "2026-10-13", "Because.", "Correct it.", "error")
#: Seconds for each read of the server, and for its thread to end.
PATIENCE = 10


@dataclass
class Server:
    """A mail server for one connection on loopback, and all that it was sent, decrypted."""

    certificate: Path
    offers: tuple[bytes, ...] = (b"STARTTLS", b"AUTH PLAIN LOGIN")
    received: list[bytes] = field(default_factory=list)
    encrypted: bool = False
    port: int = 0

    @contextmanager
    def running(self) -> Iterator[Server]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(PATIENCE)
            self.port = listener.getsockname()[1]
            thread = threading.Thread(target=self._serve, args=(listener,), daemon=True)
            thread.start()
            yield self
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _serve(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        # the client hangs up where it does not trust the certificate
        with suppress(OSError), connection:
            connection.settimeout(PATIENCE)
            self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        if not self.encrypted:
            connection.sendall(b"220 mail ESMTP\r\n")
        lines = connection.makefile("rb")
        while line := lines.readline():
            self.received.append(line)
            match line.split()[0].upper() if line.split() else b"":
                case b"EHLO":
                    said = b"".join(b"250-" + each + b"\r\n" for each in self.offers)
                    connection.sendall(b"250-mail\r\n" + said + b"250 8BITMIME\r\n")
                case b"STARTTLS":
                    connection.sendall(b"220 go on\r\n")
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(self.certificate)
                    with context.wrap_socket(connection, server_side=True) as encrypted:
                        self.encrypted = True
                        self._talk(encrypted)
                    return
                case b"AUTH":
                    connection.sendall(b"235 welcome\r\n")
                case b"DATA":
                    connection.sendall(b"354 go on\r\n")
                    while (part := lines.readline()) not in (b".\r\n", b""):
                        self.received.append(part)
                    connection.sendall(b"250 taken\r\n")
                case b"QUIT":
                    connection.sendall(b"221 bye\r\n")
                    return
                case _:
                    connection.sendall(b"250 ok\r\n")

    @property
    def everything(self) -> bytes:
        """What was sent, with whatever of it is base64 decoded as well."""
        words = [word for line in self.received for word in line.split()]
        return b" ".join([*self.received, *filter(None, map(_decoded, words))])


def _decoded(word: bytes) -> bytes:
    try:
        return base64.b64decode(word, validate=True)
    except ValueError:
        return b""


def email(server: Server, host: str = "127.0.0.1", **changes: object) -> Email:
    given: dict[str, object] = {
        "host": host,
        "port": server.port,
        "sender": "a@example.com",
        "to": ("b@example.com",),
        "user": "SMTP_USER",
        "password": "SMTP_PASSWORD",
    }
    return Email.model_validate({**given, **changes})


def send(mail: Email) -> list[str]:
    return AlertSender([Notification(email=mail)], SECRETS).send([NOTICE])


def test_a_server_with_a_certificate_of_nobody_gets_no_credentials_and_no_alert(
    certificate: Path,
) -> None:
    with Server(certificate).running() as server:
        (failed,) = send(email(server))
    assert b"smtp-pw-0815" not in server.everything
    assert b"books" not in server.everything
    assert b"Because." not in server.everything
    assert "certificate" in failed
    assert "SSL_CERT_FILE" in failed
    assert "smtp-pw-0815" not in failed


def test_a_server_whose_certificate_is_trusted_gets_both_encrypted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Server(certificate).running() as server:
        assert send(email(server)) == []
    assert server.encrypted
    assert b"smtp-pw-0815" in server.everything
    assert b"Because." in server.everything


def test_a_trusted_certificate_of_another_name_is_none(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Server(certificate).running() as server:
        (failed,) = send(email(server, host="localhost"))
    assert b"smtp-pw-0815" not in server.everything
    assert "certificate" in failed


def test_a_server_that_offers_no_encryption_gets_nothing(certificate: Path) -> None:
    with Server(certificate, offers=(b"AUTH PLAIN LOGIN",)).running() as server:
        (failed,) = send(email(server))
    assert b"smtp-pw-0815" not in server.everything
    assert b"Because." not in server.everything
    assert "SMTPNotSupportedError" in failed


def test_credentials_without_encryption_are_refused_in_the_settings_and_when_sending(
    certificate: Path,
) -> None:
    with Server(certificate).running() as server:
        with pytest.raises(ValidationError, match="starttls"):
            email(server, starttls=False)
        unchecked = email(server).model_copy(update={"starttls": False})
        way = Notification.model_construct(email=unchecked)
        (failed,) = AlertSender([way], SECRETS).send([NOTICE])
        assert "starttls" in failed
        socket.create_connection(("127.0.0.1", server.port)).close()  # nobody else came
    assert server.received == []


def test_a_relay_that_wants_no_credentials_may_be_used_without_encryption(
    certificate: Path,
) -> None:
    with Server(certificate, offers=()).running() as server:
        assert send(email(server, starttls=False, user=None, password=None)) == []
    assert b"Because." in server.everything
