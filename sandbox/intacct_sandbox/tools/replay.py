"""Replays recorded exchanges of the real API and tells where the sandbox answers otherwise.

The company differs, so values are not compared but their form: status, headers that matter, names
and their order, types, formats, nulls, and how `ia::meta` counts. Of models every attribute of
every field is compared, save custom ones, which every company has its own of; of errors what a
program acts on. What a request names that only the recorded company has (keys, ids, dates) is
replaced by the like of the sandbox's company.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from intacct_sandbox.company import CLIENT_ID, CLIENT_SECRET, COMPANY
from intacct_sandbox.control.clock import LAST_DAY
from intacct_sandbox.objects.catalogue import Catalogue, Group, load_catalogue

from .recordings import Exchange

_TIMEOUT = 60.0  # seconds
_REDACTED = "REDACTED"
_MATTER = ("content-type", "location", "retry-after", "allow", "idempotency-key")
_ACTED_ON = ("code", "errorId")

_FORMATS = (
    ("date-time", re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")),
    ("date", re.compile(r"\d{4}-\d{2}-\d{2}")),
    ("amount with 2 decimals", re.compile(r"-?\d+\.\d{2}")),
    ("amount with 10 decimals", re.compile(r"-?\d+\.\d{10}")),
    ("path", re.compile(r"/(objects|services)/\S+")),
    ("URL", re.compile(r"https?://\S+")),
)


@dataclass(frozen=True)
class Difference:
    """One thing in which the sandbox's answer differs from the recorded one."""

    where: str
    """`status`, `header content-type`, `row.totalDue`, `model fields.notes.nullable`, …"""
    recorded: str
    sandbox: str

    def __str__(self) -> str:
        return f"{self.where}: recorded {self.recorded}, sandbox {self.sandbox}"


@dataclass(frozen=True)
class Verdict:
    """What became of one exchange."""

    exchange: Exchange
    differences: Sequence[Difference]
    notes: Sequence[str] = ()
    """What was changed in the request so that it makes sense in the sandbox's company."""
    skipped: str | None = None
    """Why it was not replayed."""

    @property
    def subject(self) -> str:
        """`query accounts-receivable/invoice`, `model …`, `POST …`: what a parity row names."""
        return subject(self.exchange)


def subject(exchange: Exchange) -> str:
    """What an exchange is about, without keys."""
    path = urlsplit(exchange.path).path
    if path.endswith("/oauth2/token"):
        return "token"
    if path.endswith("/services/core/query"):
        asked = _json(exchange.body)
        return f"query {asked.get('object')}" if isinstance(asked, dict) else "query"
    if path.endswith("/services/core/model"):
        name = dict(parse_qsl(urlsplit(exchange.path).query)).get("name", "")
        return f"model {name.removeprefix('objects/')}"
    parts = path.strip("/").split("/")
    if parts[0] == "objects" and len(parts) >= 3:
        return f"{exchange.method} {parts[1]}/{parts[2]}"
    return f"{exchange.method} {path}"


class Replay:
    """Replays exchanges against one running sandbox, whose base URL it is given."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._host, self._port, self._base = parts.hostname or "", parts.port, parts.path
        self._catalogue: Catalogue = load_catalogue()
        self._token: str | None = None
        self._picked: dict[str, dict[str, Any] | None] = {}

    def run(self, exchange: Exchange) -> Verdict:
        """The verdict on one exchange."""
        kind = subject(exchange)
        if kind == "token":
            return self._replay_token(exchange)
        if kind.startswith("query"):
            return self._replay_query(exchange)
        path = urlsplit(exchange.path).path
        if path.startswith("/objects/"):
            return self._replay_object(exchange)
        if path.startswith("/services/"):
            status, headers, answer = self._ask(exchange.method, exchange.path, exchange.body)
            return Verdict(exchange, list(_compare(exchange, status, headers, answer)))
        return Verdict(exchange, (), skipped="neither a token, nor a service, nor an object")

    # --- asking -----------------------------------------------------------------------------

    def _send(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        try:
            connection.request(
                method, self._base + path, None if body is None else body.encode(), dict(headers)
            )
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
            return response.status, {k.lower(): v for k, v in response.getheaders()}, text
        finally:
            connection.close()

    def _ask(self, method: str, path: str, body: str | None) -> tuple[int, dict[str, str], str]:
        headers = {"Authorization": f"Bearer {self._access()}", "Content-Type": "application/json"}
        return self._send(method, path, body, headers)

    def _log_in(self, form: Mapping[str, str]) -> tuple[int, dict[str, str], str]:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", "/oauth2/token", urlencode(form), headers)

    def _access(self) -> str:
        if self._token is None:
            _, _, text = self._log_in(_as_top("client_credentials"))
            self._token = str(json.loads(text)["access_token"])
        return self._token

    def _query(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        _, _, text = self._ask("POST", "/services/core/query", json.dumps(asked))
        answer = json.loads(text)
        return answer if isinstance(answer, dict) else {}

    def _record(self, object_: str, filters: Sequence[Any] = ()) -> dict[str, Any] | None:
        """Some active record of an object: its key and id, entity E110's or shared."""
        if object_ not in self._picked:
            answer = self._query(
                {
                    "object": object_,
                    "fields": ["key", "id"],
                    "filters": list(filters),
                    "orderBy": [{"key": "asc"}],
                    "filterParameters": {"includePrivate": True},
                    "size": 1,
                }
            )
            rows = answer.get("ia::result")
            self._picked[object_] = rows[0] if isinstance(rows, list) and rows else None
        return self._picked[object_]

    # --- the kinds of exchange --------------------------------------------------------------

    def _replay_token(self, exchange: Exchange) -> Verdict:
        sent = dict(parse_qsl(exchange.body or "")) or _json(exchange.body)
        grant = sent.get("grant_type") if isinstance(sent, dict) else None
        if grant == "refresh_token":
            _, _, text = self._log_in(_as_top("client_credentials"))
            form = {**_as_top(grant), "refresh_token": str(json.loads(text)["refresh_token"])}
        elif grant == "client_credentials":
            form = _as_top(grant)
        else:
            return Verdict(exchange, (), skipped=f"grant {grant}: it needs a person's consent")
        status, headers, answer = self._log_in(form)
        notes = ("credentials are the sandbox's",)
        if exchange.status is not None and exchange.status >= 400:
            return Verdict(exchange, (), skipped="a refused log-in depends on what was wrong in it")
        return Verdict(exchange, list(_compare(exchange, status, headers, answer)), notes)

    def _replay_query(self, exchange: Exchange) -> Verdict:
        asked = _json(exchange.body)
        status, headers, text = self._ask(exchange.method, exchange.path, exchange.body)
        recorded, answer = _json(exchange.answer), _json(text)
        notes: list[str] = []
        if status == 200 and isinstance(asked, dict) and _rows(recorded) and not _rows(answer):
            smaller = dict(asked)
            if asked.get("filters"):
                smaller.pop("filters")
                smaller.pop("filterExpression", None)
                notes.append("filters left out, because no record here passes them")
            total = self._query({**smaller, "start": 1, "size": 1})["ia::meta"]["totalCount"]
            if isinstance(asked.get("start"), int) and asked["start"] > total > 1:
                # The same page of a smaller company: the last one, and not a full one.
                smaller["size"] = total // 2 + total % 2
                smaller["start"] = smaller["size"] + 1
                notes.append(f"a page of {smaller['size']} from {smaller['start']} on instead")
            status, headers, text = self._ask("POST", exchange.path, json.dumps(smaller))
            answer = _json(text)
        found = [
            one
            for one in _compare(exchange, status, headers, text)
            if not (notes and one.where in ("meta.start", "meta.pageSize"))
        ]
        return Verdict(exchange, found, notes)

    def _replay_object(self, exchange: Exchange) -> Verdict:
        path = urlsplit(exchange.path).path
        _, application, short, *keys = path.strip("/").split("/")
        object_ = f"{application}/{short}"
        notes: list[str] = []
        body = exchange.body
        if object_ in self._catalogue and keys:
            if exchange.method not in ("GET", "OPTIONS"):
                why = f"{exchange.method} of a record that only the recorded company has"
                return Verdict(exchange, (), skipped=why)
            record = self._record(object_) if exchange.status in (200, None) else None
            if record is not None:
                many = ",".join([record["key"]] * len(keys[0].split(",")))
                path = f"/objects/{object_}/{many}"
                notes.append(f"the record is {record['key']}")
        elif object_ in self._catalogue and exchange.method == "POST" and exchange.status:
            sent = _json(body)
            items = sent if isinstance(sent, list) else [sent]
            root = self._catalogue[object_].root
            likened = [self._likened(root, one) for one in items]
            body = json.dumps(likened if isinstance(sent, list) else likened[0])
            notes.append("references and dates are the sandbox's")
        status, headers, text = self._ask(exchange.method, path, body)
        return Verdict(exchange, list(_compare(exchange, status, headers, text)), notes)

    def _likened(self, group: Group, body: Any) -> Any:
        """A body with references and dates that the sandbox's company knows."""
        if not isinstance(body, dict):
            return body
        made: dict[str, Any] = {}
        for name, value in body.items():
            if name in group.fields and group.fields[name].kind == "date" and value:
                made[name] = LAST_DAY.isoformat()
            elif name in group.refs and isinstance(value, dict) and any(value.values()):
                ref = group.refs[name]
                record = self._known(ref.object)
                made[name] = {"key": record["key"]} if record else value
            elif name in group.groups:
                made[name] = self._likened(group.groups[name], value)
            elif name in group.lists and isinstance(value, list) and not group.lists[name].kept:
                lines = self._catalogue[group.lists[name].object].root
                made[name] = [self._likened(lines, one) for one in value]
            else:
                made[name] = value
        return made

    def _known(self, object_: str) -> dict[str, Any] | None:
        if object_ not in self._catalogue:
            return None
        type_ = self._catalogue[object_]
        filters: list[Any] = []
        if "status" in type_.fields:
            filters.append({"$eq": {"status": "active"}})
        if object_ == "general-ledger/account":
            filters.append({"$eq": {"id": "60400"}})  # it asks for no dimension
        return self._record(object_, filters)


def _as_top(grant: str) -> dict[str, str]:
    form = {"grant_type": grant, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    return form | ({"username": f"top@{COMPANY}"} if grant == "client_credentials" else {})


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except ValueError:
        return None


def _rows(answer: Any) -> list[Any]:
    result = answer.get("ia::result") if isinstance(answer, dict) else None
    return result if isinstance(result, list) else []


# --- comparing --------------------------------------------------------------------------------


def _compare(
    exchange: Exchange, status: int, headers: Mapping[str, str], text: str
) -> Iterator[Difference]:
    if exchange.status is not None and exchange.status != status:
        yield Difference("status", str(exchange.status), f"{status} {text[:300]}")
        return
    for name in _MATTER:
        theirs = exchange.answer_headers.get(name)
        if theirs is None:
            continue
        ours = headers.get(name)
        if name == "content-type":
            theirs, ours = theirs.partition(";")[0], (ours or "none").partition(";")[0]
            if theirs != ours:
                yield Difference(f"header {name}", theirs, ours)
        elif ours is None:
            yield Difference(f"header {name}", theirs, "none")
    recorded, answer = _json(exchange.answer), _json(text)
    if recorded is None:
        if exchange.answer.strip() and exchange.answer.strip() != text.strip():
            yield Difference("body", "no JSON", text[:100])
        return
    if subject(exchange).startswith("model"):
        yield from _compare_models(recorded, answer)
    else:
        yield from _compare_shapes("", [recorded], [answer])
    if isinstance(recorded, dict) and isinstance(answer, dict):
        yield from _compare_errors(_error(recorded), _error(answer))
        yield from _compare_meta(recorded.get("ia::meta"), answer.get("ia::meta"))
        for name in ("token_type", "expires_in"):
            if name in recorded and recorded[name] != answer.get(name):
                yield Difference(name, repr(recorded[name]), repr(answer.get(name)))


def _error(answer: Mapping[str, Any]) -> Any:
    result = answer.get("ia::result")
    return result.get("ia::error") if isinstance(result, dict) else answer.get("ia::error")


def _compare_errors(recorded: Any, answer: Any) -> Iterator[Difference]:
    """What a program acts on: codes, ids, message ids, and the message where it has no data."""
    if not isinstance(recorded, dict) or not isinstance(answer, dict):
        return
    pairs = [("error", recorded, answer)]
    theirs, ours = recorded.get("details"), answer.get("details")
    if isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            yield Difference("error.details", f"{len(theirs)} entries", f"{len(ours)} entries")
        pairs += [
            (f"error.details.{number}", one, other)
            for number, (one, other) in enumerate(zip(theirs, ours, strict=False))
        ]
    for at, one, other in pairs:
        if [*one] != [*other]:
            yield _names_differ(at, {tuple(one)}, tuple(other))
        for name in (*_ACTED_ON, "message"):
            if one.get(name) not in (None, _REDACTED) and one[name] != other.get(name):
                yield Difference(f"{at}.{name}", repr(one[name]), repr(other.get(name)))
        theirs, ours = one.get("additionalInfo"), other.get("additionalInfo")
        if theirs is not None and theirs != ours:
            yield Difference(f"{at}.additionalInfo", json.dumps(theirs), json.dumps(ours))


def _compare_meta(recorded: Any, answer: Any) -> Iterator[Difference]:
    if not isinstance(recorded, dict) or not isinstance(answer, dict):
        return
    if [*recorded] != [*answer]:
        yield _names_differ("meta", {tuple(recorded)}, tuple(answer))
    for name in ("start", "pageSize", "totalSuccess", "totalError"):
        if name in recorded and recorded[name] != answer.get(name):
            yield Difference(f"meta.{name}", repr(recorded[name]), repr(answer.get(name)))
    if {"start", "pageSize"} <= recorded.keys() <= answer.keys():
        for name in ("next", "previous"):
            theirs, ours = _turns(recorded, name), _turns(answer, name)
            if name in recorded and (theirs is None) == (ours is None) and theirs != ours:
                yield Difference(f"meta.{name}", f"start {theirs:+}", f"start {ours:+}")
        fits = answer["start"] + answer["pageSize"] <= answer["totalCount"]
        fitted = recorded["start"] + recorded["pageSize"] <= recorded["totalCount"]
        if (fitted == (recorded.get("next") is not None)) != (
            fits == (answer.get("next") is not None)
        ):
            yield Difference("meta.next", repr(recorded.get("next")), repr(answer.get("next")))


def _turns(meta: Mapping[str, Any], name: str) -> int | None:
    """How many pages `next` or `previous` is away, counted in page sizes."""
    at = meta.get(name)
    if not isinstance(at, int):
        return None
    size = max(int(meta["pageSize"]), 1)
    return round((at - int(meta["start"])) / size)


def _compare_models(recorded: Any, answer: Any) -> Iterator[Difference]:
    theirs, ours = recorded.get("ia::result"), (answer or {}).get("ia::result")
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        if theirs != ours:
            yield Difference("model", str(theirs)[:80], str(ours)[:80])
        return
    yield from _compare_values("model", theirs, ours)


def _compare_values(at: str, recorded: Any, answer: Any) -> Iterator[Difference]:
    """Equal to the last attribute; the order of the names in a model varies in the recordings."""
    if isinstance(recorded, dict) and isinstance(answer, dict):
        for name in recorded:
            if name.startswith("nsp::"):
                continue
            if name not in answer:
                yield Difference(f"{at}.{name}", "there", "not there")
            else:
                yield from _compare_values(f"{at}.{name}", recorded[name], answer[name])
        for name in answer:
            if name not in recorded and not name.startswith("nsp::"):
                yield Difference(f"{at}.{name}", "not there", "there")
    elif isinstance(recorded, list) and isinstance(answer, list) and at.endswith(".enum"):
        if set(map(str, recorded)) != set(map(str, answer)):
            yield Difference(at, str(recorded), str(answer))
    elif recorded != answer:
        yield Difference(at, json.dumps(recorded), json.dumps(answer))


def _compare_shapes(
    at: str, recorded: Sequence[Any], answer: Sequence[Any]
) -> Iterator[Difference]:
    """Compares what is at one place in all rows: types, formats, names and their order."""
    theirs, ours = _forms(recorded), _forms(answer)
    label = at or "body"
    valued = theirs - {"null"}
    if valued and not ours - {"null"}:
        # An empty list on our side says nothing about its items.
        yield Difference(label, " or ".join(sorted(theirs)), " or ".join(sorted(ours)) or "nothing")
    elif ours - {"null"} and valued and not ours - {"null"} <= _allowed(valued):
        yield Difference(label, " or ".join(sorted(theirs)), " or ".join(sorted(ours)))
    elif "null" in ours and "null" not in theirs and theirs and recorded and at.count(".") > 1:
        yield Difference(label, "never null", "null in places")
    objects, others = _only(recorded, dict), _only(answer, dict)
    if objects and others:
        orders = {tuple(one) for one in objects}
        for one in {tuple(other) for other in others}:
            if one in orders or {*one} == {"ia::error"}:
                continue
            if len(orders) > 1 and set(one) in [set(order) for order in orders]:
                continue  # no one order was recorded
            yield _names_differ(label, orders, one)
        for name in dict.fromkeys(name for one in objects for name in one):
            below = f"{at}.{name}" if at else name
            if name in ("ia::meta", "ia::error"):
                continue  # compared by what they count and say
            yield from _compare_shapes(
                below,
                [one[name] for one in objects if name in one],
                [one[name] for one in others if name in one],
            )
    lists, other_lists = _only(recorded, list), _only(answer, list)
    items = [item for one in lists for item in one]
    other_items = [item for one in other_lists for item in one]
    if items and other_items:
        yield from _compare_shapes(f"{at}.0", items, other_items)


def _names_differ(at: str, orders: set[tuple[str, ...]], one: tuple[str, ...]) -> Difference:
    nearest = max(orders, key=lambda order: len(set(order) & set(one)))
    missing = [name for name in nearest if name not in one]
    more = [name for name in one if name not in nearest]
    if missing or more:
        return Difference(
            f"{at} names",
            f"has {', '.join(missing)}" if missing else "has no more",
            f"has {', '.join(more)}" if more else "has no more",
        )
    return Difference(f"{at} order", ", ".join(nearest), ", ".join(one))


def _only(values: Sequence[Any], kind: type) -> list[Any]:
    return [one for one in values if isinstance(one, kind)]


def _forms(values: Sequence[Any]) -> set[str]:
    return {_form(one) for one in values}


def _form(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case dict():
            return "object"
        case list():
            return "list"
        case "":
            return "empty text"
        case str():
            for name, pattern in _FORMATS:
                if pattern.fullmatch(value):
                    return name
            return "text"
    return type(value).__name__


def _allowed(recorded: set[str]) -> set[str]:
    """The forms that agree with the recorded ones: a text may be of any text's form by chance."""
    allowed = set(recorded)
    if "text" in recorded:
        allowed |= {name for name, _ in _FORMATS} | {"empty text"}
    if "number" in recorded:
        allowed.add("integer")
    return allowed
