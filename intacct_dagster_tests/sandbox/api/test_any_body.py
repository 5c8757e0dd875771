"""Bodies made by the catalogue, sensible and not, on every object: an answer always comes out."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intacct_dagster_tests.sandbox.caller import Caller
from intacct_sandbox.objects.catalogue import (
    Field,
    FieldGroup,
    ObjectCatalogue,
    ObjectType,
    load_catalogue,
)

_VALUES: dict[str, list[Any]] = {
    "string": ["x", "A-1"],
    "date": ["2026-10-05", "2026-07-01"],
    "date-time": ["2026-10-05T00:00:00Z"],
    "decimal": ["12.50", "0.00", "-3.10"],
    "number": [1, 2.5],
    "integer": [0, 1],
    "boolean": [True, False],
    "key": ["1"],
}
_ODD: list[Any] = [None, "", 5, [], {}, "x" * 200]


def _value(random: Random, field: Field) -> Any:
    if random.random() < 0.05:
        return random.choice(_ODD)
    if field.enum:
        return random.choice(field.enum)
    return "aGk=" if field.format == "base64zip" else random.choice(_VALUES[field.kind])


def _body(random: Random, catalogue: ObjectCatalogue, group: FieldGroup) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, field in group.fields.items():
        wanted = 0.02 if field.read_only else 1.0 if field.required else 0.3
        if random.random() < wanted:
            body[name] = _value(random, field)
    for name, ref in group.refs.items():
        if not ref.read_only and random.random() < (1.0 if ref.required else 0.2):
            key = {"key": str(random.randrange(1, 4))}
            body[name] = random.choice([key, key, key, {"id": "x"}, {"id": None}, {}, None, 5])
            if ref.inline and random.random() < 0.5:
                body[name] = {"email1": "a@b.example", "mailingAddress": {"city": "x"}}
    for name, below in group.groups.items():
        if name != "audit" and (found := _body(random, catalogue, below)):
            body[name] = found
    for name, lines in group.lists.items():
        if lines.kept:
            if random.random() < 0.2:
                body[name] = random.choice([[{"a": 1}], [], ["x"], 5])
            continue
        body[name] = _lines(random, catalogue, catalogue[lines.object].root)
    return body


def _lines(random: Random, catalogue: ObjectCatalogue, root: FieldGroup) -> list[dict[str, Any]]:
    lines = [_body(random, catalogue, root) for _ in range(random.randrange(3))]
    for line in lines:
        if random.random() < 0.2:
            line["key"] = str(random.randrange(1, 100))
        if random.random() < 0.1:
            line["ia::operation"] = random.choice(["delete", "drop"])
    return lines


def _request(random: Random, catalogue: ObjectCatalogue, type_: ObjectType) -> tuple[str, str, Any]:
    key = str(random.randrange(1, 60))
    if type_.workflows and random.random() < 0.3:
        action = random.choice(list(type_.workflows))
        return (
            "POST",
            f"/workflows/{type_.name}/{action}",
            {"key": key, "reversedDate": "2026-10-12"},
        )
    body = _body(random, catalogue, type_.root)
    if type_.owner and random.random() < 0.9:
        body[type_.owner] = {"key": key}
    if random.random() < 0.5:
        return "POST", f"/objects/{type_.name}", random.choice([body, body, [body, body]])
    if random.random() < 0.5:
        return "PATCH", f"/objects/{type_.name}/{key}", body
    return "DELETE", f"/objects/{type_.name}/{key}", None


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10**9))
def test_any_body_on_any_object_is_answered_and_leaves_books_that_can_be_read(
    shared_caller: Caller, seed: int
) -> None:
    random, catalogue = Random(seed), load_catalogue()
    names = random.sample(list(catalogue), 12)
    for name in names:
        method, path, body = _request(random, catalogue, catalogue[name])
        user = random.choice(["top@demo", "usa@demo|E110"])
        given_ = {} if body is None else {"json": body}
        response = shared_caller.call(method, path, user=user, **given_)
        assert response.status_code < 500, (method, path, body, response.text)
        if response.status_code not in (200, 201, 204, 207):
            assert "ia::error" in response.text
    type_ = catalogue[names[0]]
    if not type_.singleton:
        fields = [path for path, one in type_.fields.items() if not one.write_only]
        read = shared_caller.query("top@demo", type_.name, [*fields, *type_.members], size=50)
        assert set(read) == {"ia::result", "ia::meta"}
