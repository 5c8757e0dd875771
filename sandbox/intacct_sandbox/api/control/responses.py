"""`/_sandbox/…`: read the audit log and the books; set time, faults, behaviours and limits.

Not part of Intacct's API, and open to everybody who reaches the port. Errors come as
`{"error": {"message": …}}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from intacct_sandbox import query
from intacct_sandbox.api.control import openapi
from intacct_sandbox.api.gateway import BASE_PATH, Gateway
from intacct_sandbox.api.jobs import progress
from intacct_sandbox.api.json_bodies import as_json
from intacct_sandbox.company import COMPANY
from intacct_sandbox.control.behaviours import all_behaviours
from intacct_sandbox.control.clock import wire_time
from intacct_sandbox.errors import SandboxError
from intacct_sandbox.objects.catalogue import Json
from intacct_sandbox.objects.reading import RecordReader
from intacct_sandbox.query.definition import Filter

_MOST_SHOWN = 1000
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_FARTHEST = datetime(2200, 1, 1, tzinfo=UTC)


def health(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /_sandbox/health."""
    books = gateway.books
    return as_json(
        {
            "status": "ok",
            "company": COMPANY,
            "seed": books.seed,
            "now": wire_time(books.clock.now()),
            "records": sum(len(table.rows) for table in books.tables.values()),
        }
    )


def openapi_document(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /_sandbox/openapi.json: the API as this sandbox serves it."""
    base_url = f"{request.url.scheme}://{request.url.netloc}{BASE_PATH}"
    return as_json(openapi.document(gateway.books.catalogue, base_url))


# --- audit log and books ----------------------------------------------------------------------


def written(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /_sandbox/books: what was written through the API since the books were generated."""
    with gateway.books.lock:
        changes = gateway.books.written()
    return as_json({"changes": list(changes), "count": len(changes)})


def records(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /_sandbox/records?object=…&FIELD=VALUE: which records are there, of all entities, private
    ones included, and who made them when. `fields` (with commas) shows more of each."""
    books, asked = gateway.books, dict(request.query_params)
    name = asked.pop("object", "")
    more = [path for path in asked.pop("fields", "").split(",") if path]
    type_ = books.catalogue.get(name)
    if type_ is None:
        raise SandboxError(f"There is no object {name!r}: give one as object=APPLICATION/NAME.")
    with books.lock:
        reader = RecordReader(books.catalogue, books.tables, name, books.today())
        for path in (*asked, *more):
            if path not in type_.fields and path not in type_.members:
                raise SandboxError(f"{name} has no field {path!r}.")
        filters = [Filter(path, "string", _reads(wanted)) for path, wanted in asked.items()]
        count, rows = query.holding(books.tables[name], filters, reader, _MOST_SHOWN)
        entities = {key: id_ for id_, key in books.company.entity_keys.items()}
        users = {
            key: str(row["id"]) for key, row in books.tables["company-config/user"].rows.items()
        }
        shown: list[Json] = [
            {
                "key": row["key"],
                "id": row.get("id", row["key"]),
                "entity": entities.get(str(row.get("entity.key"))),
                "created_by": users.get(str(row.get("audit.createdByUser.key"))),
                "created_at": row.get("audit.createdDateTime"),
                "modified_at": row.get("audit.modifiedDateTime"),
                **{path: reader.column(path)([row])[0] for path in more},
            }
            for row in rows
        ]
    return as_json({"count": count, "records": shown})


def _reads(wanted: str) -> Callable[[Json], bool]:
    return lambda value: ("" if value is None else str(value)) == wanted


def requests(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /_sandbox/requests: counters since the sandbox was started or reset."""
    return as_json(gateway.books.audit_log.counted())


def journal(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET /_sandbox/journal?method=POST&object=…&idempotency_key=…: the requests of which all that
    holds; `count` counts them all, `requests` shows the last thousand, or `last` of them."""
    asked = dict(request.query_params)
    last = asked.pop("last", str(_MOST_SHOWN))
    if not last.isdecimal() or not 1 <= int(last) <= _MOST_SHOWN:
        raise SandboxError(f"last is a number from 1 to {_MOST_SHOWN}.")
    try:
        found = gateway.books.audit_log.asked(asked)
    except ValueError as error:
        raise SandboxError(f"{error}.") from None
    return as_json({"count": len(found), "requests": [one.shown() for one in found[-int(last) :]]})


# --- time and chance --------------------------------------------------------------------------


def clock(gateway: Gateway, request: Request, body: bytes) -> Response:
    """GET or POST /_sandbox/clock: `{"advance": "12h"}`, `{"to": "2026-11-01T00:00:00Z"}`,
    `{"running": false}`. Units: ms, s, min, h, d."""
    books = gateway.books
    if request.method == "POST":
        given = _mapping(body, ("advance", "to", "running"))
        now = books.clock.now()
        to = now
        if "to" in given:
            to = _moment(given["to"])
        if "advance" in given:
            to += _span(given["advance"])
        if not now <= to < _FARTHEST:
            raise SandboxError(f"The clock goes forward only, and shows {wire_time(now)}.")
        running = given.get("running", books.clock.is_running)
        if not isinstance(running, bool):
            raise SandboxError("running is true or false.")
        books.advance(to - now)
        if running and not books.clock.is_running:
            books.clock.run()
        elif not running:
            books.clock.stop()
    shown = wire_time(books.clock.now(), "milliseconds")
    today = books.today().isoformat()
    return as_json({"now": shown, "running": books.clock.is_running, "company_date": today})


def _moment(given: Json) -> datetime:
    try:
        moment = datetime.fromisoformat(str(given))
    except ValueError:
        raise SandboxError(f"{given!r} is not a time such as 2026-11-01T00:00:00Z.") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _span(given: Json) -> timedelta:
    found = _SPAN.fullmatch(str(given))
    if found is None:
        raise SandboxError(f"{given!r} is not a span such as 12h, 90s, 60d.")
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    except OverflowError:
        raise SandboxError(f"{given!r} is too long.") from None


def faults(gateway: Gateway, request: Request, body: bytes) -> Response:
    """/_sandbox/faults: GET shows the plan, PUT replaces it, POST adds to it, DELETE ends it."""
    plan = gateway.books.faults
    if request.method == "PUT":
        plan.replace(_json(body))
    elif request.method == "POST":
        plan.add(_json(body))
    elif request.method == "DELETE":
        plan.replace([])
    return as_json({"faults": plan.shown()})


def behaviours(gateway: Gateway, request: Request, body: bytes) -> Response:
    """/_sandbox/behaviours: GET lists the switches, POST `{"refresh_rotation": "grace"}` turns
    some."""
    chosen = gateway.books.behaviours
    if request.method == "POST":
        given = _mapping(body, tuple(chosen))
        chosen.choose({name: str(value) for name, value in given.items()})
    listed: list[Json] = [
        {
            "name": one.name,
            "about": one.about,
            "value": chosen[one.name],
            "default": one.default,
            "values": dict(one.values),
        }
        for one in all_behaviours().values()
    ]
    return as_json({"behaviours": listed})


def limits(gateway: Gateway, request: Request, body: bytes) -> Response:
    """Show the limits (GET), or change some (POST `{"tier": "2", "external_requests": 5}`)."""
    throttle = gateway.books.throttle
    if request.method == "POST":
        throttle.choose(_mapping(body, None))
    return as_json(throttle.shown())


def webhooks(gateway: Gateway, request: Request, body: bytes) -> Response:
    """/_sandbox/webhooks: GET shows addresses, triggers and deliveries, POST `{"id", "url"}`
    registers an address (and its `secret`), `{"object", "events", "url"}` a platform trigger;
    without a url its events wait in the queue."""
    if request.method == "POST":
        gateway.books.webhooks.register(
            _mapping(body, ("id", "object", "events", "url", "name", "secret"))
        )
    return as_json(gateway.books.webhooks.shown())


# --- going back -------------------------------------------------------------------------------


def reset(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /_sandbox/reset: books, time and counters as they were at the start. Behaviours, limits
    and the rules of the fault plan stay."""
    gateway.books.reset()
    progress.recall(gateway)
    return health(gateway, request, body)


def snapshots(gateway: Gateway, request: Request, body: bytes) -> Response:
    """/_sandbox/snapshots: GET lists them, POST `{"name": …}` takes one."""
    if request.method == "POST":
        gateway.books.snapshot(_name(body))
    return as_json({"snapshots": list[Json](gateway.books.snapshots)})


def restore(gateway: Gateway, request: Request, body: bytes) -> Response:
    """POST /_sandbox/restore `{"name": …}`: back to a snapshot, as often as you like."""
    gateway.books.restore(_name(body))
    progress.recall(gateway)
    return health(gateway, request, body)


# --- bodies -----------------------------------------------------------------------------------


def _json(body: bytes) -> Json:
    try:
        given: Json = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise SandboxError(f"The body is not JSON: {error}") from None
    return given


def _mapping(body: bytes, names: tuple[str, ...] | None) -> Mapping[str, Json]:
    given = _json(body)
    if not isinstance(given, dict):
        raise SandboxError("The body is a JSON object.")
    strange = [name for name in given if names is not None and name not in names]
    if strange:
        raise SandboxError(f"There is nothing called {strange[0]!r}: give {', '.join(names or ())}")
    return given


def _name(body: bytes) -> str:
    name = _mapping(body, ("name",)).get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= 100:
        raise SandboxError("A snapshot has a name of 1 to 100 characters.")
    return name
