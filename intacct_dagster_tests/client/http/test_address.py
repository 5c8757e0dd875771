"""Secrets go over https, or to this machine: whatever the address looks like to a person."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import httpx
import pytest
from click.testing import CliRunner, Result

from intacct_dagster.cli.app import main
from intacct_dagster.client import (
    AuthorizationCode,
    ClientCredentials,
    Consent,
    Intacct,
    IntacctError,
    listening,
    xml_access,
)
from intacct_dagster.client.http.address import address_flaw, is_loopback
from intacct_dagster.client.http.transport import Transport
from intacct_dagster.config import ConfigError, read_settings
from intacct_dagster.defs.resources import EntityUser, IntacctResource
from intacct_dagster_tests.code_location import failure

LOOPBACK = (
    "http://localhost/ia/api/v1",
    "http://LOCALHOST:8765/ia/api/v1",
    "http://127.0.0.1:8765/ia/api/v1",
    "http://127.8.9.10/ia/api/v1",
    "http://[::1]:8765/ia/api/v1",
)
ENCRYPTED = (
    "https://api.intacct.com/ia/api/v1",
    "https://127.0.0.1:8765/ia/api/v1",
    "https://proxy.books.example:8443/ia/api/v1",
)
#: The address, and what is said of it.
UNSAFE = (
    ("http://api.intacct.com/ia/api/v1", "plain http"),
    ("HTTP://api.intacct.com/ia/api/v1", "plain http"),
    ("http://192.168.0.7:8765/ia/api/v1", "plain http"),
    ("http://0.0.0.0:8765/ia/api/v1", "plain http"),
    ("http://[2001:db8::1]/ia/api/v1", "plain http"),
    ("http://[::ffff:192.168.0.7]/ia/api/v1", "plain http"),
    ("http://localhost.evil.example/ia/api/v1", "plain http"),
    ("http://127.0.0.1.evil.example/ia/api/v1", "plain http"),
    ("http://evil.example/localhost:80", "plain http"),
    ("http://evil.example?http://localhost:80/", "plain http"),
    ("http://evil.example#@localhost", "plain http"),
    ("http://2130706434/ia/api/v1", "plain http"),
    ("http://localhost:80@evil.example/ia/api/v1", "user name or password"),
    ("http://127.0.0.1@evil.example/ia/api/v1", "user name or password"),
    ("https://user:s3cret@api.intacct.com/ia/api/v1", "user name or password"),
    ("https://@api.intacct.com/ia/api/v1", "user name or password"),
    ("http://evil.example\\@localhost/ia/api/v1", "character"),
    ("http://localhost\\@evil.example/ia/api/v1", "character"),
    ("http://local\thost/ia/api/v1", "character"),
    ("http://localhost /ia/api/v1", "character"),
    ("http://localhost:port/ia/api/v1", "not an address"),
    ("http://[::1/ia/api/v1", "not an address"),
    ("https:///ia/api/v1", "no host"),
    ("https:api.intacct.com", "no host"),
    ("ftp://localhost/ia/api/v1", "https"),
    ("localhost/ia/api/v1", "https"),
    ("", "https"),
)
SAFE_BASE = "https://api.intacct.com/ia/api/v1"
FILE = """\
company: acme
base_url: {base_url}
scope: production
auth:
  grant: authorization_code
  client_id: app
  client_secret: ${{ADDRESS_SECRET}}
  redirect_uri: {redirect_uri}
xml: {{sender_id: acme, sender_password: "${{ADDRESS_SECRET}}", url: {xml_url}}}
entities:
  - {{id: E110, user: usa}}
start_date: 2026-01-01
objects:
  - accounts-receivable/invoice
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADDRESS_SECRET", "s3cret")
    for name in ("COMPANY", "BASE_URL", "CLIENT_ID", "CLIENT_SECRET", "CONFIG"):
        monkeypatch.delenv(f"INTACCT_{name}", raising=False)


def quoted(address: str) -> str:
    return '"' + address.replace("\\", "\\\\").replace("\t", "\\t") + '"'


def settings_file(**changes: str) -> str:
    given = {"base_url": SAFE_BASE, "redirect_uri": SAFE_BASE, "xml_url": SAFE_BASE, **changes}
    return FILE.format(**{name: quoted(value) for name, value in given.items()})


def type_(*words: str) -> Result:
    result = CliRunner().invoke(main, words, env={"COLUMNS": "400"})
    assert isinstance(result.exception, SystemExit | None), result.output
    return result


@pytest.mark.parametrize("address", [*LOOPBACK, *ENCRYPTED])
def test_a_safe_address_has_no_flaw(address: str) -> None:
    assert address_flaw(address) is None
    assert is_loopback(address) == (address in LOOPBACK)


@pytest.mark.parametrize(("address", "said"), UNSAFE)
def test_an_unsafe_address_is_named_without_its_password(address: str, said: str) -> None:
    flaw = address_flaw(address)
    assert flaw is not None
    assert said in flaw
    assert "s3cret" not in flaw
    assert not is_loopback(address)


@pytest.mark.parametrize("key", ["base_url", "redirect_uri", "xml_url"])
@pytest.mark.parametrize(("address", "said"), UNSAFE)
def test_settings_refuse_it_at_its_line(key: str, address: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_settings(settings_file(**{key: address}), file=Path("intacct.yaml"))
    line = {"base_url": 2, "redirect_uri": 8, "xml_url": 9}[key]
    (problem,) = str(refused.value).splitlines()
    assert problem.startswith(f"intacct.yaml:{line}: ")
    assert said in problem
    assert "s3cret" not in problem


@pytest.mark.parametrize("address", LOOPBACK)
def test_settings_call_plain_http_to_this_machine_the_sandbox(address: str) -> None:
    settings = read_settings(settings_file(base_url=address), file=Path("intacct.yaml"))
    assert settings.is_sandbox


@pytest.mark.parametrize("address", ENCRYPTED)
def test_settings_call_nothing_else_so(address: str) -> None:
    settings = read_settings(settings_file(base_url=address), file=Path("intacct.yaml"))
    assert not settings.is_sandbox


def nothing_is_sent(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"sent to {request.url.host}")


@pytest.mark.parametrize(("address", "said"), UNSAFE)
def test_the_client_sends_nothing_there(address: str, said: str) -> None:
    grant = ClientCredentials("app", "s3cret")
    transport = httpx.MockTransport(nothing_is_sent)
    with pytest.raises(IntacctError, match=said):
        Intacct("acme", address, grant, {"E110": "usa"}, transport=transport)
    access = xml_access(SAFE_BASE, "acme", "s3cret", address or "none", "+00:00")
    with pytest.raises(IntacctError, match=said):
        Intacct("acme", SAFE_BASE, grant, {"E110": "usa"}, transport=transport, xml=access)


@pytest.mark.parametrize(("address", "said"), UNSAFE)
def test_no_consent_is_asked_that_would_come_back_there(address: str, said: str) -> None:
    grant = AuthorizationCode("app", "s3cret", address)
    with (
        Intacct("acme", SAFE_BASE, grant, {"E110": "usa"}) as company,
        pytest.raises(IntacctError, match=said),
    ):
        company.ask_consent("E110")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.3", "localhost"])
def test_a_consent_is_listened_for_at_the_address_itself(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with listening(f"http://{host}:{port}/callback") as wait:
        consent = Consent("https://page.example", "state", "verifier")
        back = f"http://{host}:{port}/callback?code=the-code&state=state"
        with ThreadPoolExecutor(1) as browser:
            code = browser.submit(wait, consent, 10)
            assert httpx.get(back, timeout=10, trust_env=False).status_code == 200
            assert code.result(10) == "the-code"


def test_nothing_listens_where_other_machines_reach_it() -> None:
    with pytest.raises(IntacctError, match="not this machine alone"), listening("http://0.0.0.0:1"):
        pass


def test_doctor_and_the_other_commands_say_so_and_send_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        (tmp_path / "intacct.yaml").write_text(
            settings_file(base_url=f"http://anybody@127.0.0.1:{port}/ia/api/v1")
        )
        for words in (("doctor",), ("sessions", "check", "E110"), ("authorize", "E110")):
            result = type_(*words)
            assert result.exit_code == 1
            assert "user name or password" in result.output
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    ("flag", "address"),
    [
        ("--base-url", "http://api.intacct.com/ia/api/v1"),
        ("--base-url", "http://localhost:80@evil.example"),
        ("--redirect-uri", "http://books.example/callback"),
    ],
)
def test_init_refuses_it_before_it_asks_for_the_secret(
    flag: str, address: str, tmp_path: Path
) -> None:
    result = type_("init", "--company", "acme", flag, address)
    assert result.exit_code == 1
    assert flag in result.output
    assert "secret (not shown)" not in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("from_variable", [False, True])
def test_a_run_with_such_a_resource_fails_in_words(
    from_variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.asset
    def books(intacct: IntacctResource) -> None:
        intacct.entity("E110")

    address = "http://localhost:80@evil.example/ia/api/v1"
    monkeypatch.setenv("BOOKS_URL", address)
    resource = IntacctResource(
        company="acme",
        base_url=dg.EnvVar("BOOKS_URL") if from_variable else address,
        client_id="app",
        client_secret=dg.EnvVar("ADDRESS_SECRET"),
        users=[EntityUser(entity="E110", user="usa")],
        state="sqlite:///state.db",
    )
    result = dg.materialize([books], resources={"intacct": resource}, raise_on_error=False)
    assert "user name or password" in failure(result)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_what_is_plain_http_to_this_machine_goes_through_no_proxy(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://proxy.example:3128")
    for address, direct in ((LOOPBACK[2], True), (SAFE_BASE, False)):
        transport = Transport(address)
        assert transport._client.trust_env is not direct
        transport.close()
