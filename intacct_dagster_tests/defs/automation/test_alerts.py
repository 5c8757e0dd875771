"""People are told of failed runs and checks, once, in words, and of no secret."""

from __future__ import annotations

import json
import smtplib
import ssl
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from intacct_dagster.config import Email, Entity, Notification
from intacct_dagster.defs import feed_key, raw_key
from intacct_dagster.defs.automation.alert_channels import Alert, AlertSender
from intacct_dagster.defs.automation.alerts import alerts_sensor
from intacct_dagster_tests.code_location import FEED, OBJECTS, CodeLocation, sandbox_settings
from intacct_sandbox import LAST_DAY

SECRET = "https://hooks.example/T0/s3cr3t"
ENVIRONMENT = {"SLACK": SECRET, "SMTP_USER": "me", "SMTP_PASSWORD": "pa55word"}
ALERT = Alert("Run failed", "E110", "2026-10-13", "Because.", "Mend it.", "error", "http://ui/1")
EMAIL = Email(
    host="mail.example",
    sender="intacct@example",
    to=("a@example", "b@example"),
    user="SMTP_USER",
    password="SMTP_PASSWORD",
)


class Slack:
    """Takes what is sent, and answers with a status."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.status == 0:
            raise httpx.ConnectError(f"cannot reach {request.url}")
        self.sent.append((str(request.url), json.loads(request.content)))
        return httpx.Response(self.status, text=f"echo of {request.url}")

    def sender(self, *ways: Notification) -> AlertSender:
        return AlertSender(
            ways or (Notification(slack="SLACK"),),
            ENVIRONMENT,
            transport=httpx.MockTransport(self),
        )

    @property
    def texts(self) -> list[str]:
        return [body["text"] for _, body in self.sent]


@pytest.fixture
def location(tmp_path: Path) -> Iterator[CodeLocation]:
    """Intacct cannot be reached there."""
    settings = sandbox_settings(
        "http://127.0.0.1:9",
        tmp_path,
        entities=(Entity(id="E110", user="usa"),),
        notifications=(Notification(slack="SLACK"),),
        webserver_url="http://dagster.example/",
    )
    (tmp_path / f"data/feeds/{FEED}").mkdir(parents=True)
    with dg.DagsterInstance.ephemeral() as instance:
        location = CodeLocation(settings, instance)
        tick(location, Slack())  # what ended before is nobody's news
        yield location


def tick(location: CodeLocation, slack: Slack) -> str:
    sensor = alerts_sensor(location.settings, sender=slack.sender())
    context = dg.build_sensor_context(location.instance, cursor=location.cursor("alerts"))
    done = sensor.evaluate_tick(context)
    location.remember("alerts", str(done.cursor))
    return str(done.skip_message)


def test_a_failed_run_is_told_once_with_entity_day_reason_and_remedy(
    location: CodeLocation,
) -> None:
    slack = Slack()
    keys = [raw_key(name) for name in OBJECTS]
    result = location.run(keys, entity="E110")
    assert not result.success
    assert tick(location, slack) == "1 runs ended, 1 alerts for Slack"
    assert [url for url, _ in slack.sent] == [SECRET]
    (text,) = slack.texts
    assert "Run failed" in text
    assert f"Entity: E110. Days: {LAST_DAY}." in text
    assert "Cannot reach Sage Intacct at 127.0.0.1:9" in text
    assert "What to do: Check base_url" in text
    assert f"http://dagster.example/runs/{result.run_id}" in text

    # The same again is no news; nor is a tick without runs.
    assert not location.run(keys, entity="E110").success
    assert tick(location, slack) == "1 runs ended, 0 alerts for Slack"
    assert tick(location, slack) == "0 runs ended, 0 alerts for Slack"
    assert len(slack.sent) == 1


def test_a_failed_check_is_told_until_it_has_passed_and_then_anew(location: CodeLocation) -> None:
    slack = Slack()
    file = location.settings.directory / f"data/feeds/{FEED}/a.csv"

    def read(text: str) -> list[str]:
        file.write_text(text, encoding="utf-8")
        assert location.run([feed_key(FEED)], entity="E110").success
        before = len(slack.sent)
        tick(location, slack)
        return slack.texts[before:]

    (text,) = read("no,columns\n")
    assert f"Check failed: feed/{FEED} no_line_in_quarantine" in text
    assert "1 lines of 1 files are in quarantine" in text
    assert read("no,columns\n") == []
    file.unlink()
    assert location.run([feed_key(FEED)], entity="E110").success
    tick(location, slack)
    assert len(read("no,columns\n")) == 1


@pytest.mark.parametrize(("status", "told"), [(500, "answered 500"), (0, "ConnectError")])
def test_a_notice_that_cannot_be_sent_is_told_in_the_tick_without_the_address(
    location: CodeLocation, status: int, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not location.run([raw_key(OBJECTS[0])], entity="E110").success
    said = tick(location, Slack(status))
    assert "not sent: Slack: the address in SLACK" in said
    assert told in said
    assert "s3cr3t" not in said + "".join(capfd.readouterr())


def test_who_wants_errors_alone_is_told_of_no_warnings() -> None:
    slack = Slack()
    sender = slack.sender(Notification(slack="SLACK", severity="error"))
    warning = Alert("Check failed", "E110", "", "Because.", "", "warn")
    assert sender.send([warning, ALERT]) == []
    assert slack.texts == [ALERT.text]


def test_plain_http_gets_the_parts_by_name() -> None:
    slack = Slack()
    assert slack.sender(Notification(http="SLACK")).send([ALERT]) == []
    ((_, body),) = slack.sent
    assert (body["entity"], body["days"], body["reason"]) == ("E110", "2026-10-13", "Because.")


def test_the_address_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    slack = Slack()
    assert slack.sender().send([ALERT]) == []
    with httpx.Client(transport=httpx.MockTransport(slack)) as other:
        other.post("http://others.example/", json={})
    assert "others.example" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_a_variable_that_is_not_set_is_named_and_the_other_ways_go_on() -> None:
    slack = Slack()
    sender = slack.sender(Notification(slack="NOT_SET"), Notification(slack="SLACK"))
    assert sender.send([ALERT]) == ["Slack: the environment variable NOT_SET is not set"]
    assert len(slack.sent) == 1


class Smtp:
    """Stands for a mail server: what was said to it, in order."""

    said: list[object]

    def __init__(self, host: str, port: int, timeout: float) -> None:
        type(self).said = [(host, port)]

    def __enter__(self) -> Smtp:
        return self

    def __exit__(self, *_: object) -> None:
        self.said.append("quit")

    def starttls(self, context: ssl.SSLContext) -> None:
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        self.said.append("starttls")

    def login(self, user: str, password: str) -> None:
        self.said.append((user, password))

    def send_message(self, message: EmailMessage) -> None:
        self.said.append(message)


def test_e_mail_goes_out_encrypted_to_all_and_a_refusal_tells_no_password() -> None:
    def mail(server: type[Smtp]) -> list[str]:
        ways = (Notification(email=EMAIL),)
        return AlertSender(ways, ENVIRONMENT, smtp=server).send([ALERT])  # type: ignore[arg-type]

    assert mail(Smtp) == []
    place, starttls, login, message, _ = Smtp.said
    assert (place, starttls, login) == (("mail.example", 587), "starttls", ("me", "pa55word"))
    assert isinstance(message, EmailMessage)
    assert message["To"] == "a@example, b@example"
    assert message["Subject"] == "Run failed"
    assert "Mend it." in message.get_content()

    class Refusing(Smtp):
        def login(self, user: str, password: str) -> None:
            raise smtplib.SMTPAuthenticationError(535, f"not {password}".encode())

    assert mail(Refusing) == [
        "e-mail: mail.example:587 could not be used (SMTPAuthenticationError)"
    ]
