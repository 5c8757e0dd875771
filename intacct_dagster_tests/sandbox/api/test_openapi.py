"""The sandbox's own OpenAPI document, and bodies drawn from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intacct_dagster_tests.sandbox.caller import INVOICE, Caller

USER = "usa@demo"


@pytest.fixture(scope="module")
def document(shared_caller: Caller) -> dict[str, Any]:
    got: dict[str, Any] = shared_caller.control("GET", "openapi.json")
    return got


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for below in node.values():
            yield from _references(below)
    elif isinstance(node, list):
        for below in node:
            yield from _references(below)


def test_it_names_every_object_and_every_reference_leads_somewhere(
    shared_caller: Caller, document: dict[str, Any]
) -> None:
    for name in shared_caller.books.catalogue:
        assert f"/objects/{name}" in document["paths"]
    schemas = document["components"]["schemas"]
    for reference in set(_references(document)):
        assert reference.removeprefix("#/components/schemas/") in schemas
    ids = [
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
    ]
    assert len(ids) == len(set(ids))


def test_it_says_what_an_invoice_needs(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["accounts-receivable.invoice"]
    assert set(schema["required"]) >= {"customer", "invoiceDate", "dueDate", "lines"}
    assert "totalTxnAmount" not in schema["properties"], "it is worked out"


def _values(
    schemas: dict[str, Any], schema: dict[str, Any], depth: int = 0
) -> st.SearchStrategy[Any]:
    """Bodies of a schema, well formed more often than not."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        return _values(schemas, schemas[name], depth)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema.get("type", "string")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    if kind == "object":
        names = sorted(schema.get("properties", {}))
        if depth > 3 or not names:
            return st.just({})
        needed = {
            name: _values(schemas, schema["properties"][name], depth + 1)
            for name in schema.get("required", [])
        }
        chosen = {
            name: _values(schemas, schema["properties"][name], depth + 1) for name in names[:6]
        }
        return st.fixed_dictionaries(
            needed, optional={name: one for name, one in chosen.items() if name not in needed}
        )
    if kind == "array":
        least = schema.get("minItems", 0)
        return st.lists(
            _values(schemas, schema["items"], depth + 1), min_size=least, max_size=least + 1
        )
    if kind == "boolean":
        return st.booleans()
    if kind in ("integer", "number"):
        return st.integers(-10, 10_000)
    if schema.get("format") == "date":
        return st.dates().map(lambda day: day.isoformat())
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    return st.text(max_size=8) | st.sampled_from(["1", "E110", "C-10001", "40300"])


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_bodies_drawn_from_it_are_stored_or_rejected_in_the_envelope(
    shared_caller: Caller, document: dict[str, Any], data: st.DataObject
) -> None:
    schemas = document["components"]["schemas"]
    names = [
        name for name, type_ in shared_caller.books.catalogue.items() if "POST" in type_.methods
    ]
    name = data.draw(st.sampled_from([INVOICE, *names]))
    schema = document["paths"][f"/objects/{name}"]["post"]["requestBody"]["content"]
    one = schema["application/json"]["schema"]["oneOf"][0]
    body = data.draw(_values(schemas, one))
    response = shared_caller.call("POST", f"/objects/{name}", user=USER, json=body)
    assert response.status_code in (201, 400, 403, 409, 422, 501), (name, body, response.text)
    assert "ia::meta" in response.json()
    if response.status_code == 201:
        key = response.json()["ia::result"]["key"]
        got = shared_caller.call("GET", f"/objects/{name}/{key}", user=USER)
        assert got.status_code == 200
