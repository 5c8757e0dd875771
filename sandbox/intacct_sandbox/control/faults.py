"""Faults on a plan: what goes wrong, with which requests, when, and how often.

A plan is a list of rules, from a YAML file or from the control API. A rule says which requests it
applies to and what happens to them:

    - name: overloaded after the commit        # all but the name and an effect may be left out
      route: objects              # token, query, model, objects, composite, …
      method: POST
      object: accounts-receivable/invoice
      user: usa
      entity: E110
      path: "/objects/*"          # a pattern, below the API's base path
      between: [2026-10-14T02:00:00Z, 2026-10-14T04:00:00Z]   # a window of the sandbox's clock
      nth: [1, 3]                 # of the requests that the lines above mean
      every: 5
      chance: 0.1
      times: 2                    # at most
      answer: {status: 503, after_commit: true, retry_after: {family: plain, seconds: 2}}

What may fault_for a request, one or more of:

    latency: 0.2   or   {uniform: [0.1, 2]}, {lognormal: {median: 0.2, sigma: 0.8}},
                        {exponential: {mean: 0.5}}, in seconds of the sandbox's clock
    answer: {status: 503, after_commit: true, body: BODY, retry_after: 2}   BODY: error,
                                  maintenance_page, cdn_page or empty
    cut: before | during | after  the request is not done; done, half the answer; done, no answer
    truncate: 0.5                 the answer ends in the middle, and its length does not tell
    drop_item: true               one item is missing in ia::result
    revoke_token: true            all tokens of the user end before the request is looked at
    meanwhile: {insert: 1, change: 2, delete: 1, object?, modified_ago?: 90}
                                  others write while this request is on its way
    late: 30                      what the request writes shows in queries that much later, though
                                  with the time at which it was written

Chance is drawn from the seed, the rule's name and the request's number: the same requests in the
same order meet the same faults.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Literal, cast

import yaml

from intacct_sandbox.errors import SandboxError
from intacct_sandbox.objects.catalogue import Json

from .audit_log import AuditedRequest
from .throttle import throttle_headers

_MATCHES = ("route", "method", "object", "user", "entity", "path")
_LIMITS = ("between", "nth", "every", "chance", "times")
_EFFECTS = (
    *("latency", "answer", "cut", "truncate", "drop_item", "revoke_token", "meanwhile", "late"),
)
_STATUSES = frozenset((400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504))
_LONGEST_LATENCY = 3600.0

Cut = Literal["before", "during", "after"]


@dataclass(frozen=True)
class FaultResponse:
    """An answer that takes the place of the real one."""

    status: int
    after_commit: bool = False
    body: str = "error"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ExternalChanges:
    """What others write while a request is on its way."""

    insert: int = 0
    change: int = 0
    delete: int = 0
    object: str | None = None
    """None: the object that the request asks for."""
    modified_ago: int = 0
    """Seconds by which the modified time of what is written lies in the past."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    names: tuple[str, ...] = ()
    latency: float = 0.0
    answer: FaultResponse | None = None
    cut: Cut | None = None
    truncate: float | None = None
    drop_item: bool = False
    revoke_token: bool = False
    meanwhile: ExternalChanges | None = None
    late: float | None = None
    chance: Random = field(default_factory=lambda: Random(0))  # noqa: S311 - no secret

    @property
    def loses_answer(self) -> bool:
        """Whether the work is done and the client cannot know."""
        after = self.answer is not None and self.answer.after_commit and self.answer.status >= 500
        return after or self.cut in ("during", "after")


def _invalid(rule: str, why: str) -> SandboxError:
    return SandboxError(f"The fault {rule!r} cannot be: {why}.")


class Rule:
    """One line of a plan. Raises `SandboxError` that names the rule and what is wrong with it."""

    def __init__(self, given: Json, number: int) -> None:
        if not isinstance(given, dict):
            raise _invalid(f"number {number}", "a fault is a mapping")
        self.given = given
        self.name = str(given.get("name", f"fault {number}"))
        strange = [key for key in given if key not in ("name", *_MATCHES, *_LIMITS, *_EFFECTS)]
        if strange:
            raise _invalid(self.name, f"there is nothing called {strange[0]}")
        if not any(key in given for key in _EFFECTS):
            raise _invalid(self.name, f"it does nothing; give one of {', '.join(_EFFECTS)}")
        self._wanted = {key: str(given[key]) for key in _MATCHES if key in given}
        self._between = _window(self.name, given.get("between"))
        self._nth = _nth(self.name, given.get("nth"))
        self._every = self._whole("every")
        self._times = self._whole("times")
        self._chance = self._number("chance", 1.0, most=1.0)
        self._latency = _latency(self.name, given.get("latency"))
        self.answer = _answer(self.name, given.get("answer"))
        self.cut = cast("Cut | None", given.get("cut"))
        if self.cut not in (None, "before", "during", "after"):
            raise _invalid(self.name, "cut is one of before, during, after")
        self.truncate = self._number("truncate", None, most=1.0)
        self.late = self._number("late", None, most=None)
        for key in ("drop_item", "revoke_token"):
            if not isinstance(given.get(key, False), bool):
                raise _invalid(self.name, f"{key} is true or false")
        self.meanwhile = _meanwhile(self.name, given.get("meanwhile"))
        self.reset()

    def reset(self) -> None:
        """Count from the beginning."""
        self.met = 0
        self.done = 0

    def _whole(self, key: str) -> int | None:
        value = self.given.get(key)
        if value is not None and (type(value) is not int or value < 1):
            raise _invalid(self.name, f"{key} is a whole number from 1")
        return value

    def _number(self, key: str, default: float | None, *, most: float | None) -> float | None:
        value = self.given.get(key, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise _invalid(self.name, f"{key} is a number from 0")
        if most is not None and value > most:
            raise _invalid(self.name, f"{key} is at most {most:g}")
        return float(value)

    def applies(self, exchange: AuditedRequest, chance: Random) -> bool:
        """Return whether the rule applies to this request, and count it."""
        for name, wanted in self._wanted.items():
            value = getattr(exchange, name)
            if value is None or not fnmatch.fnmatchcase(value, wanted):
                return False
        if self._between and not self._between[0] <= exchange.at < self._between[1]:
            return False
        self.met += 1
        if self._nth is not None and self.met not in self._nth:
            return False
        if self._every is not None and self.met % self._every:
            return False
        if self._times is not None and self.done >= self._times:
            return False
        if self._chance is not None and chance.random() >= self._chance:
            return False
        self.done += 1
        return True

    def latency(self, chance: Random) -> float:
        """Return seconds, drawn for one request."""
        return min(self._latency(chance), _LONGEST_LATENCY)

    def shown(self) -> dict[str, Json]:
        """Return it as the control API shows it."""
        return {**self.given, "name": self.name, "met": self.met, "done": self.done}


class FaultPlan:
    """The rules in force."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.rules: list[Rule] = []

    def replace(self, given: Json) -> None:
        """Put other rules in force: a list of them, or `{"faults": [...]}`.

        Raises `SandboxError` and changes nothing if one of them cannot be.
        """
        if isinstance(given, dict):
            given = given.get("faults", [])
        if not isinstance(given, list):
            raise SandboxError("A fault plan is a list of faults, or {faults: [...]}.")
        rules = [Rule(one, number) for number, one in enumerate(given, start=1)]
        names = [rule.name for rule in rules]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SandboxError(f"Two faults are called {twice[0]!r}: give each a name of its own.")
        self.rules = rules

    def add(self, given: Json) -> None:
        """Put rules in force besides those there are; raises `SandboxError`."""
        if isinstance(given, dict):
            given = given.get("faults", [given])
        if not isinstance(given, list):
            raise SandboxError("A fault plan is a list of faults, or {faults: [...]}.")
        self.replace([*(rule.given | {"name": rule.name} for rule in self.rules), *given])

    def reset(self) -> None:
        """Count from the beginning, with the same rules."""
        for rule in self.rules:
            rule.reset()

    def fault_for(self, exchange: AuditedRequest) -> Fault:
        """Return what goes wrong with a request.

        Latencies add up; of everything else, the first rule that gives it counts.
        """
        if not self.rules:
            return Fault()
        names: list[str] = []
        latency = 0.0
        found: dict[str, Any] = {}
        for rule in self.rules:
            chance = Random(f"{self._seed}:{rule.name}:{exchange.number}")  # noqa: S311
            if not rule.applies(exchange, chance):
                continue
            names.append(rule.name)
            latency += rule.latency(chance)
            mine = {
                "answer": rule.answer,
                "cut": rule.cut,
                "truncate": rule.truncate,
                "drop_item": rule.given.get("drop_item") or None,
                "revoke_token": rule.given.get("revoke_token") or None,
                "meanwhile": rule.meanwhile,
                "late": rule.late,
            }
            for key, value in mine.items():
                if value is not None:
                    found.setdefault(key, value)
        chance = Random(f"{self._seed}:fault:{exchange.number}")  # noqa: S311
        return Fault(tuple(names), latency, chance=chance, **found)

    def shown(self) -> list[Json]:
        """Return it as the control API shows it."""
        return [rule.shown() for rule in self.rules]


def read_plan(file: Path) -> Json:
    """Return the plan of a YAML file; raises `SandboxError`."""
    try:
        content: Json = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SandboxError(f"The fault plan {file} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SandboxError(f"The fault plan {file} is not YAML: {error}") from error
    return content


# --- the parts of a rule ----------------------------------------------------------------------


def _moment(rule: str, given: object) -> datetime:
    try:
        moment = given if isinstance(given, datetime) else datetime.fromisoformat(str(given))
    except ValueError:
        raise _invalid(rule, f"{given} is not a time such as 2026-10-14T02:00:00Z") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _window(rule: str, given: Json) -> tuple[datetime, datetime] | None:
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != 2:
        raise _invalid(rule, "between takes two times")
    return _moment(rule, given[0]), _moment(rule, given[1])


def _nth(rule: str, given: Json) -> frozenset[int] | None:
    if given is None:
        return None
    numbers = given if isinstance(given, list) else [given]
    if not all(type(one) is int and one > 0 for one in numbers):
        raise _invalid(rule, "nth is a whole number from 1, or a list of them")
    return frozenset(cast("list[int]", numbers))


def _latency(rule: str, given: Json) -> Callable[[Random], float]:
    if given is None:
        return lambda chance: 0.0
    try:
        match given:
            case bool():
                pass
            case int() | float():
                fixed = _seconds(given)
                return lambda chance: fixed
            case {"uniform": [low, high], **rest} if not rest:
                low, high = _seconds(low), _seconds(high)
                return lambda chance: chance.uniform(low, high)
            case {"exponential": {"mean": mean}, **rest} if not rest:
                mean = _seconds(mean)
                return lambda chance: chance.expovariate(1 / mean) if mean else 0.0
            case {"lognormal": {"median": median, "sigma": sigma}, **rest} if not rest:
                middle, spread = math.log(max(_seconds(median), 1e-9)), _seconds(sigma)
                return lambda chance: chance.lognormvariate(middle, spread)
    except (TypeError, ValueError):
        pass
    raise _invalid(
        rule,
        "latency is a number of seconds, {uniform: [low, high]}, {exponential: {mean}} or "
        "{lognormal: {median, sigma}}",
    )


def _seconds(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError("not a number")
    if not 0 <= given <= _LONGEST_LATENCY:
        raise ValueError("out of range")
    return float(given)


_BODIES = ("error", "maintenance_page", "cdn_page", "empty")


def _answer(rule: str, given: Json) -> FaultResponse | None:
    if given is None:
        return None
    status = given.get("status") if isinstance(given, dict) else None
    if not isinstance(given, dict) or type(status) is not int or status not in _STATUSES:
        raise _invalid(rule, f"answer takes a status, one of {sorted(_STATUSES)}")
    strange = [key for key in given if key not in ("status", "after_commit", "body", "retry_after")]
    if strange:
        raise _invalid(rule, f"answer has nothing called {strange[0]}")
    body = given.get("body", "error")
    if body not in _BODIES:
        raise _invalid(rule, f"body is one of {', '.join(_BODIES)}")
    headers: dict[str, str] = {}
    match given.get("retry_after"):
        case None:
            pass
        case bool():
            raise _invalid(rule, "retry_after is a number of seconds, or {family, seconds}")
        case int() as seconds:
            headers = throttle_headers("plain", seconds)
        case {"family": str() as family, "seconds": int() as seconds}:
            headers = throttle_headers(family, seconds)
        case _:
            raise _invalid(rule, "retry_after is a number of seconds, or {family, seconds}")
    return FaultResponse(
        cast(int, given["status"]), given.get("after_commit") is True, str(body), headers
    )


def _meanwhile(rule: str, given: Json) -> ExternalChanges | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise _invalid(rule, "meanwhile is a mapping")
    for key, value in given.items():
        if key not in ("insert", "change", "delete", "object", "modified_ago"):
            raise _invalid(rule, f"meanwhile has nothing called {key}")
        fits = isinstance(value, str) if key == "object" else type(value) is int and value >= 0
        if not fits:
            raise _invalid(rule, f"{key} of meanwhile cannot be {value!r}")
    return ExternalChanges(**cast("dict[str, Any]", given))
