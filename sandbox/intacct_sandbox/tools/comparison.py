"""Compare a recorded response with the sandbox's: forms, names, errors, models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .recordings import RecordedExchange

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
class ReplayDifference:
    """One thing in which the sandbox's answer differs from the recorded one."""

    where: str
    """`status`, `header content-type`, `row.totalDue`, `model fields.notes.nullable`, …"""
    recorded: str
    sandbox: str

    def __str__(self) -> str:
        return f"{self.where}: recorded {self.recorded}, sandbox {self.sandbox}"


def compare(
    exchange: RecordedExchange, status: int, headers: Mapping[str, str], text: str
) -> Iterator[ReplayDifference]:
    """Yield the differences between a recorded response and the sandbox's."""
    if exchange.status is not None and exchange.status != status:
        yield ReplayDifference("status", str(exchange.status), f"{status} {text[:300]}")
        return
    yield from _compare_headers(exchange.answer_headers, headers)
    recorded, answer = json_of(exchange.answer), json_of(text)
    if recorded is None:
        if exchange.answer.strip() and exchange.answer.strip() != text.strip():
            yield ReplayDifference("body", "no JSON", text[:100])
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
                yield ReplayDifference(name, repr(recorded[name]), repr(answer.get(name)))


def _compare_headers(
    recorded: Mapping[str, str], answer: Mapping[str, str]
) -> Iterator[ReplayDifference]:
    for name in _MATTER:
        theirs = recorded.get(name)
        if theirs is None:
            continue
        ours = answer.get(name)
        if name == "content-type":
            theirs, ours = theirs.partition(";")[0], (ours or "none").partition(";")[0]
            if theirs != ours:
                yield ReplayDifference(f"header {name}", theirs, ours)
        elif ours is None:
            yield ReplayDifference(f"header {name}", theirs, "none")


def _error(answer: Mapping[str, Any]) -> Any:
    result = answer.get("ia::result")
    return result.get("ia::error") if isinstance(result, dict) else answer.get("ia::error")


def _compare_errors(recorded: Any, answer: Any) -> Iterator[ReplayDifference]:
    """Yield what a program acts on: codes, ids, message ids, and the message where it has no
    data."""
    if not isinstance(recorded, dict) or not isinstance(answer, dict):
        return
    pairs = [("error", recorded, answer)]
    theirs, ours = recorded.get("details"), answer.get("details")
    if isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            yield ReplayDifference(
                "error.details", f"{len(theirs)} entries", f"{len(ours)} entries"
            )
        pairs += [
            (f"error.details.{number}", one, other)
            for number, (one, other) in enumerate(zip(theirs, ours, strict=False))
        ]
    for at, one, other in pairs:
        if [*one] != [*other]:
            yield _names_differ(at, {tuple(one)}, tuple(other))
        for name in (*_ACTED_ON, "message"):
            if one.get(name) not in (None, _REDACTED) and one[name] != other.get(name):
                yield ReplayDifference(f"{at}.{name}", repr(one[name]), repr(other.get(name)))
        theirs, ours = one.get("additionalInfo"), other.get("additionalInfo")
        if theirs is not None and theirs != ours:
            yield ReplayDifference(f"{at}.additionalInfo", json.dumps(theirs), json.dumps(ours))


def _compare_meta(recorded: Any, answer: Any) -> Iterator[ReplayDifference]:
    if not isinstance(recorded, dict) or not isinstance(answer, dict):
        return
    if [*recorded] != [*answer]:
        yield _names_differ("meta", {tuple(recorded)}, tuple(answer))
    for name in ("start", "pageSize", "totalSuccess", "totalError"):
        if name in recorded and recorded[name] != answer.get(name):
            yield ReplayDifference(f"meta.{name}", repr(recorded[name]), repr(answer.get(name)))
    if {"start", "pageSize"} <= recorded.keys() <= answer.keys():
        for name in ("next", "previous"):
            theirs, ours = _turns(recorded, name), _turns(answer, name)
            if name in recorded and (theirs is None) == (ours is None) and theirs != ours:
                yield ReplayDifference(f"meta.{name}", f"start {theirs:+}", f"start {ours:+}")
        fits = answer["start"] + answer["pageSize"] <= answer["totalCount"]
        fitted = recorded["start"] + recorded["pageSize"] <= recorded["totalCount"]
        if (fitted == (recorded.get("next") is not None)) != (
            fits == (answer.get("next") is not None)
        ):
            yield ReplayDifference(
                "meta.next", repr(recorded.get("next")), repr(answer.get("next"))
            )


def _turns(meta: Mapping[str, Any], name: str) -> int | None:
    """Return how many pages `next` or `previous` is away, counted in page sizes."""
    at = meta.get(name)
    if not isinstance(at, int):
        return None
    size = max(int(meta["pageSize"]), 1)
    return round((at - int(meta["start"])) / size)


def _compare_models(recorded: Any, answer: Any) -> Iterator[ReplayDifference]:
    theirs, ours = recorded.get("ia::result"), (answer or {}).get("ia::result")
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        if theirs != ours:
            yield ReplayDifference("model", str(theirs)[:80], str(ours)[:80])
        return
    yield from _compare_values("model", theirs, ours)


def _compare_values(at: str, recorded: Any, answer: Any) -> Iterator[ReplayDifference]:
    """Equal to the last attribute; the order of the names in a model varies in the recordings."""
    if isinstance(recorded, dict) and isinstance(answer, dict):
        for name in recorded:
            if name.startswith("nsp::"):
                continue
            if name not in answer:
                yield ReplayDifference(f"{at}.{name}", "there", "not there")
            else:
                yield from _compare_values(f"{at}.{name}", recorded[name], answer[name])
        for name in answer:
            if name not in recorded and not name.startswith("nsp::"):
                yield ReplayDifference(f"{at}.{name}", "not there", "there")
    elif isinstance(recorded, list) and isinstance(answer, list) and at.endswith(".enum"):
        if set(map(str, recorded)) != set(map(str, answer)):
            yield ReplayDifference(at, str(recorded), str(answer))
    elif recorded != answer:
        yield ReplayDifference(at, json.dumps(recorded), json.dumps(answer))


def _compare_shapes(
    at: str, recorded: Sequence[Any], answer: Sequence[Any]
) -> Iterator[ReplayDifference]:
    """Compares what is at one place in all rows: types, formats, names and their order."""
    theirs, ours = _forms(recorded), _forms(answer)
    label = at or "body"
    valued = theirs - {"null"}
    if valued and not ours - {"null"}:
        # An empty list on our side says nothing about its items.
        yield ReplayDifference(
            label, " or ".join(sorted(theirs)), " or ".join(sorted(ours)) or "nothing"
        )
    elif ours - {"null"} and valued and not ours - {"null"} <= _allowed(valued):
        yield ReplayDifference(label, " or ".join(sorted(theirs)), " or ".join(sorted(ours)))
    elif "null" in ours and "null" not in theirs and theirs and recorded and at.count(".") > 1:
        yield ReplayDifference(label, "never null", "null in places")
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


def _names_differ(at: str, orders: set[tuple[str, ...]], one: tuple[str, ...]) -> ReplayDifference:
    nearest = max(orders, key=lambda order: len(set(order) & set(one)))
    missing = [name for name in nearest if name not in one]
    more = [name for name in one if name not in nearest]
    if missing or more:
        return ReplayDifference(
            f"{at} names",
            f"has {', '.join(missing)}" if missing else "has no more",
            f"has {', '.join(more)}" if more else "has no more",
        )
    return ReplayDifference(f"{at} order", ", ".join(nearest), ", ".join(one))


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
    """Return the forms that agree with the recorded ones: a text may be of any text's form by
    chance."""
    allowed = set(recorded)
    if "text" in recorded:
        allowed |= {name for name, _ in _FORMATS} | {"empty text"}
    if "number" in recorded:
        allowed.add("integer")
    return allowed


def subject(exchange: RecordedExchange) -> str:
    """Return what an exchange is about, without keys."""
    path = urlsplit(exchange.path).path
    if path.endswith("/oauth2/token"):
        return "token"
    if path.endswith("/services/core/query"):
        asked = json_of(exchange.body)
        return f"query {asked.get('object')}" if isinstance(asked, dict) else "query"
    if path.endswith("/services/core/model"):
        name = dict(parse_qsl(urlsplit(exchange.path).query)).get("name", "")
        return f"model {name.removeprefix('objects/')}"
    parts = path.strip("/").split("/")
    if parts[0] == "objects" and len(parts) >= 3:
        return f"{exchange.method} {parts[1]}/{parts[2]}"
    return f"{exchange.method} {path}"


def json_of(text: str | None) -> Any:
    """Return a text as JSON; None if it is none."""
    try:
        return json.loads(text or "")
    except ValueError:
        return None
