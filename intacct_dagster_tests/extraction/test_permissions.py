"""Fields that a query refuses: by entity, also where nothing says which, and none is lost."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina

from intacct_dagster.client import (
    ClientCredentials,
    Intacct,
    IntacctClient,
    RequestRefused,
)
from intacct_dagster.config import ObjectSettings, Reading
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.extraction.extracted import Extracted
from intacct_dagster.extraction.schema import CompanySchema
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import read_asked_fields, read_schemas, store_schemas
from intacct_dagster_tests.extraction.test_extract import INVOICE, Company, Desk, model, row

WHAT = ObjectSettings(name=INVOICE)
NOT_NAMED = {"code": "invalidRequest", "message": "The request is not valid", "errorId": "R-1"}


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


class Guarded(httpx.BaseTransport):
    """A company in which each entity's user may ask for other fields; refusals may name none."""

    def __init__(self, *fields: str) -> None:
        self.company = Company({}, {INVOICE: []})
        self.offer(*fields)
        self.refused: dict[str, set[str]] = {}
        self.names_fields = True
        self.most_fields = 10_000
        self.queries = 0

    def offer(self, *fields: str) -> None:
        described = {path: {"type": "string", "nullable": True} for path in fields}
        self.company.models[INVOICE] = model()
        self.company.models[INVOICE]["fields"] |= described

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        if not request.url.path.endswith("/query"):
            return self.company.handle_request(request)
        self.queries += 1
        asked = json.loads(request.content)["fields"]
        entity = request.headers["x-ia-api-param-entity"]
        refused = [path for path in asked if path in self.refused.get(entity, ())]
        error: dict[str, Any] = NOT_NAMED
        if self.names_fields and refused:
            error = {**NOT_NAMED, "message": f"The {refused[0]} field cannot be used in query"}
        if refused or len(asked) > self.most_fields:
            return httpx.Response(400, json={"ia::result": {"ia::error": error}})
        answer = self.company.handle_request(request)
        body = json.loads(answer.content)
        mine = [each for each in body["ia::result"] if each.get("entity.id", entity) == entity]
        body["ia::result"] = mine
        body["ia::meta"]["totalCount"] = len(mine)
        return httpx.Response(200, json=body)


class Entities:
    """Nights of a company of two entities, each run in an extractor of its own."""

    def __init__(self, folder: Path, *fields: str) -> None:
        self.guarded = Guarded(*fields)
        self.desk = Desk(self.guarded.company, folder, Reading(look_back_days=0))
        self.intacct = Intacct(
            "demo",
            "https://company.test/ia/api/v1",
            ClientCredentials("id", "secret"),
            {"E110": "usa", "E120": "gbr"},
            transport=self.guarded,
        )
        self.day = 1

    @property
    def warehouse(self) -> Warehouse:
        return self.desk.warehouse

    def client(self, entity: str = "E110") -> IntacctClient:
        return self.intacct.entity(entity)

    def night(self, *entities: str, **values: Any) -> list[Extracted]:
        self.day += 1
        day = date(2026, 10, 1) + timedelta(days=self.day - 1)
        self.desk.now = datetime(day.year, day.month, day.day, 2, tzinfo=self.desk.now.tzinfo)
        self.desk.now += timedelta(days=1)
        done = []
        for entity in entities:
            self.guarded.company.rows[INVOICE] = [
                row(f"{entity}-{self.day}", f"{day}T12:00:00Z", entity, **values)
            ]
            extractor = Extractor(
                self.intacct,
                self.warehouse,
                start_date=date(2026, 10, 1),
                run_id=f"{entity}-{self.day}",
                reading=Reading(look_back_days=0),
                now=lambda: self.desk.now,
            )
            done.append(extractor.extract(WHAT, entity, [day]))
        return done

    def learnt(self, entity: str = "E110") -> set[str]:
        """The fields that are left out of what a new run of an entity reads."""
        schemas = CompanySchema(self.warehouse, lambda: self.desk.now)
        return set(schemas.learn(self.client(entity), [WHAT])[INVOICE].unreadable)


@pytest.fixture
def at(tmp_path: Path) -> Entities:
    return Entities(tmp_path, *(f"f{n:03}" for n in range(100)))


def test_a_field_that_one_entity_may_not_ask_for_is_read_of_the_others(at: Entities) -> None:
    at.guarded.refused = {"E110": {"f001"}}
    first, second = at.night("E110", "E120", f001="x")
    assert first.schema.unreadable == ("f001",)
    assert second.schema.unreadable == ()
    with at.warehouse.connect(read_only=True) as connection:
        rows = connection.execute(
            "SELECT _entity, f001 FROM intacct.accounts_receivable_invoice ORDER BY 1"
        ).fetchall()
        selectable = connection.execute(
            "SELECT selectable FROM meta.catalogue WHERE path = 'f001'"
        ).fetchall()
    assert rows == [("E110", None), ("E120", "x")]
    assert selectable == [(True,)]


def test_one_extractor_reads_each_entity_by_its_own_permissions(at: Entities) -> None:
    at.guarded.refused = {"E110": {"f001"}, "E120": {"f002"}}
    schemas = CompanySchema(at.warehouse, lambda: at.desk.now)
    left_out = [
        schemas.learn(at.client(entity), [WHAT])[INVOICE].unreadable
        for entity in ("E110", "E120", "E110")
    ]
    assert left_out == [("f001",), ("f002",), ("f001",)]


def test_what_an_entity_asked_for_is_stored_and_asked_again_after_a_week(at: Entities) -> None:
    at.guarded.refused = {"E110": {"f001"}}
    assert at.learnt("E110") == {"f001"}
    assert at.learnt("E120") == set()
    stored = read_asked_fields(at.warehouse)
    assert {key: set(each.refused) for key, each in stored.items()} == {
        (INVOICE, "E110"): {"f001"},
        (INVOICE, "E120"): set(),
    }
    at.guarded.queries = 0
    at.guarded.refused = {}
    assert at.learnt("E110") == {"f001"}
    assert at.learnt("E120") == set()
    assert at.guarded.queries == 0
    at.desk.now += timedelta(days=7)
    assert at.learnt("E110") == set()
    assert at.learnt("E120") == set()
    assert at.guarded.queries == 1


def test_a_new_field_is_asked_for_by_each_entity(at: Entities) -> None:
    at.learnt("E110")
    at.learnt("E120")
    at.guarded.offer("f000", "g")
    at.guarded.refused = {"E120": {"g"}}
    assert at.learnt("E110") == set()
    assert at.learnt("E120") == {"g"}


@pytest.mark.parametrize(
    "refused", [["f000"], ["f099"], ["f013", "f014"], ["f000", "f050", "f099"]]
)
def test_fields_that_a_refusal_does_not_name_are_found_in_few_requests_and_remembered(
    at: Entities, refused: list[str]
) -> None:
    at.guarded.names_fields = False
    at.guarded.refused = {"E110": set(refused)}
    assert at.learnt() == set(refused)
    most = 2 + len(refused) * 2 * math.ceil(math.log2(103))
    assert at.guarded.queries <= most
    at.guarded.queries = 0
    assert at.learnt() == set(refused)
    assert at.guarded.queries == 0


def test_a_permission_withdrawn_without_a_name_costs_the_field_and_is_remembered(
    at: Entities,
) -> None:
    at.guarded.names_fields = False
    at.night("E110", f001="1")
    at.day += 8  # what was refused at first would be asked for again by now
    at.guarded.refused = {"E110": {"f001", "f002"}}
    (done,) = at.night("E110", f001="2", f003="2")
    assert done.schema.unreadable == ("f001", "f002")
    at.guarded.queries = 0
    at.night("E110", f003="3")
    assert at.guarded.queries <= 2
    with at.warehouse.connect(read_only=True) as connection:
        rows = connection.execute(
            "SELECT f001, f003 FROM intacct.accounts_receivable_invoice"
            " ORDER BY audit_modified_date_time"
        ).fetchall()
    assert rows == [("1", None), (None, "2"), (None, "3")]


def test_a_refusal_that_is_about_no_field_stops_the_object_after_few_requests(
    at: Entities,
) -> None:
    at.guarded.names_fields = False
    at.guarded.refused = {"E110": {"key"}}
    with pytest.raises(RequestRefused, match="The request is not valid"):
        at.learnt()
    assert at.guarded.queries == 2
    at.guarded.refused = {}
    at.guarded.most_fields = 60  # fields that are refused only together
    with pytest.raises(RequestRefused, match="The request is not valid"):
        at.learnt()
    assert at.guarded.queries < 15


def test_requests_for_fields_that_are_not_named_are_bounded(at: Entities) -> None:
    at.guarded.names_fields = False
    refused = {f"f{n:03}" for n in range(0, 100, 2)}
    at.guarded.refused = {"E110": refused}
    assert at.learnt() == refused
    assert at.guarded.queries <= 2 * 103


def test_processes_that_learn_at_the_same_moment_lose_nothing(
    at: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = Entities(at.desk.folder, "f000", "nsp::A", "other")
    at.guarded.offer("f000", "nsp::a", "one")
    together = threading.Barrier(2, timeout=10)
    errors: list[Exception] = []

    def learn(entities: Entities) -> None:
        client = entities.client()
        asked_model = client.model

        def model_of(name: str) -> Any:
            found = asked_model(name)
            if not waited.get(entities):
                waited[entities] = True
                together.wait()
            return found

        waited: dict[Entities, bool] = {}
        monkeypatch.setattr(client, "model", model_of)
        try:
            schemas = CompanySchema(entities.warehouse, lambda: at.desk.now)
            schemas.learn(client, [WHAT])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=learn, args=(each,)) for each in (at, others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    known = read_schemas(at.warehouse)[INVOICE]
    assert {"f000", "nsp::A", "nsp::a", "other", "one"} <= known.keys()
    names = [field.column_name for field in known.values()]
    assert len(set(names)) == len(names)


def test_storing_fields_takes_nothing_from_others(at: Entities) -> None:
    at.learnt()
    ((first, second, *_),) = [list(read_schemas(at.warehouse)[INVOICE].values())]
    store_schemas(at.warehouse, {"a/b": [first]})
    store_schemas(at.warehouse, {"a/b": [second]})
    assert read_schemas(at.warehouse)["a/b"].keys() == {first.path, second.path}
    assert store_schemas(at.warehouse, {"a/b": [first]}, known={}) == {"a/b"}
    assert read_schemas(at.warehouse)["a/b"].keys() == {first.path, second.path}
