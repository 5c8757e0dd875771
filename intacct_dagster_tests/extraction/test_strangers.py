"""A stranger's session: of another entity, of none, of a user without access. Nothing is stored."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
import stamina

from intacct_dagster.client import (
    AccessDenied,
    ClientCredentials,
    Intacct,
    IntacctError,
    WrongEntity,
)
from intacct_dagster.config import ObjectSettings
from intacct_dagster.warehouse.raw.page_archive import archived_loads
from intacct_dagster_tests.extraction.test_lines import LINE, Desk, desk
from intacct_dagster_tests.sandbox.caller import CUSTOMER, INVOICE
from intacct_sandbox import LAST_DAY

#: Read by changes, through documents, and with whole records.
OBJECTS = [
    ObjectSettings(name=INVOICE, history="from_start"),
    ObjectSettings(name=CUSTOMER, history="all"),
    ObjectSettings(name=LINE),
    ObjectSettings(name=INVOICE, get_fields=("lines",)),
]


class Strange(httpx.BaseTransport):
    """Sessions for whom `scope` says, and a header that Intacct does not know."""

    def __init__(self, wire: httpx.BaseTransport, scope: str) -> None:
        self._wire, self._scope = wire, scope

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        headers = dict(request.headers)
        entity = headers.pop("x-ia-api-param-entity", None)
        if entity is not None:
            headers["x-ia-api-paramentity"] = entity  # as Sage's table of headers prints it
        content = request.content
        if request.url.path.endswith("/oauth2/token"):
            form = dict(parse_qsl(content.decode()))
            form["username"] = f"{form['username'].partition('|')[0]}{self._scope}"
            content = urlencode(form).encode()
        headers.pop("content-length", None)
        return self._wire.handle_request(
            httpx.Request(request.method, request.url, headers=headers, content=content)
        )


def as_stranger(at: Desk, scope: str, user: str = "top") -> None:
    """From now on sessions are of `scope`: "" is the top level, "|E120" another entity."""
    at.intacct = Intacct(
        "demo",
        "https://sandbox/ia/api/v1",
        ClientCredentials("sandbox.app.sage.com", "sandbox-secret"),
        {"E110": user},
        transport=Strange(at.wire, scope),
    )


def refusal(at: Desk, what: ObjectSettings) -> IntacctError:
    with stamina.set_testing(True, attempts=1), pytest.raises(IntacctError) as caught:
        at.extract(what, [LAST_DAY])
    return caught.value


@pytest.mark.parametrize("what", OBJECTS, ids=lambda what: f"{what.name} {what.get_fields}")
@pytest.mark.parametrize(
    ("scope", "told"),
    [
        ("|E120", "entity E120; nothing of it was kept"),
        ("", "nothing of it was kept"),
    ],
    ids=["a token of another entity", "a misspelt header and no entity"],
)
def test_a_session_that_is_not_in_the_entity_stores_nothing(
    tmp_path: Path, scope: str, told: str, what: ObjectSettings
) -> None:
    with desk(tmp_path) as at:
        as_stranger(at, scope)
        error = refusal(at, what)
        assert isinstance(error, WrongEntity)
        first, remedy = str(error).splitlines()
        assert "entity E110" in first
        assert error.object in (what.name, INVOICE)
        assert told in first
        assert "X-IA-API-Param-Entity" in remedy
        raw = "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'raw'"
        assert at.rows(raw) == [(0,)]
        assert archived_loads(at.pages) == []
        assert not any((tmp_path / ".spool").glob("*/*"))


def test_a_user_without_access_stores_nothing_and_is_told_where_to_get_it(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        as_stranger(at, "|E110", user="can")
        error = refusal(at, OBJECTS[0])
        assert isinstance(error, AccessDenied)
        assert str(error).splitlines()[0].startswith("User can has no access to entity E110")
        assert not at.warehouse.path.exists()


@pytest.mark.parametrize("scope", ["|E120", ""])
def test_partitions_stay_as_they_were_when_a_strangers_session_comes(
    tmp_path: Path, scope: str
) -> None:
    with desk(tmp_path) as at:
        at.extract(OBJECTS[0], [LAST_DAY])
        table = "SELECT * FROM raw.accounts_receivable_invoice ORDER BY ALL"
        before = at.rows(table)
        assert before
        as_stranger(at, scope)
        assert isinstance(refusal(at, OBJECTS[0]), WrongEntity)
        assert at.rows(table) == before
