"""Entity ids that the configuration accepts: tokens, headers, folders and partitions carry them."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import dagster as dg
import httpx
import pytest

from intacct_dagster.client import ClientCredentials, Intacct
from intacct_dagster.config import Entity, ObjectSettings
from intacct_dagster.defs.partitions import days_by_entity, entity_days, partition_key
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import PageArchive, rebuild
from intacct_dagster_tests.code_location import sandbox_settings
from intacct_dagster_tests.extraction.test_extract import INVOICE, NOW, START, Company, model, row

IDS = ("E 110", "..", ".", "a=b&c#d?e%f", "it's 1", "E:1;2", "-", "0", "000", "$(id)", "<b>", "{x}")
CHANGED = "2026-10-02T12:00:00Z"


class Seen(httpx.BaseTransport):
    """A company that notes the user of each request for a token, and the entity of each query."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.tokens: set[str] = set()
        self.headers: set[str] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/oauth2/token"):
            (username,) = parse_qs(request.read().decode())["username"]
            self.tokens.add(username)
        else:
            self.headers.add(request.headers["x-ia-api-param-entity"])
        return self.company.handle_request(request)


@pytest.mark.parametrize("id", IDS)
def test_an_unusual_entity_id_is_read_kept_and_rebuilt(tmp_path: Path, id: str) -> None:
    assert Entity(id=id, user="usa").id == id
    seen = Seen(Company({INVOICE: model()}, {INVOICE: [row("1", CHANGED, id)]}))
    grant = ClientCredentials("id", "secret")
    url = "https://company.test/ia/api/v1"
    intacct = Intacct("demo", url, grant, {id: "usa"}, transport=seen)
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    pages = tmp_path / "pages"
    extractor = Extractor(
        intacct,
        warehouse,
        start_date=START,
        run_id="run",
        page_archive=PageArchive(pages, timedelta(days=30)),
        now=lambda: NOW,
    )
    assert extractor.extract(ObjectSettings(name=INVOICE), id, [date(2026, 10, 2)]).rows == 1
    assert seen.tokens == {f"usa@demo|{id}"}
    assert seen.headers == {id}
    assert all(tmp_path in each.resolve().parents for each in pages.rglob("*"))
    again = Warehouse(tmp_path / "again.duckdb")
    rebuild(again, pages)
    with again.connect(read_only=True) as connection:
        found = connection.execute("SELECT DISTINCT _entity FROM raw.accounts_receivable_invoice")
        assert found.fetchall() == [(id,)]


def test_partitions_and_ranges_of_unusual_entity_ids(tmp_path: Path) -> None:
    settings = sandbox_settings(
        "http://127.0.0.1:9", tmp_path, entities=tuple(Entity(id=each, user="usa") for each in IDS)
    )
    partitions = entity_days(settings)
    day = settings.start_date
    keys = [partition_key(each, day) for each in IDS]
    whole = dg.PartitionKeyRange(keys[0], keys[-1])
    found = days_by_entity(partitions.get_partition_keys_in_range(whole))
    assert found == {each: [day] for each in sorted(IDS)}
