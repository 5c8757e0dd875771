"""Replay recorded exchanges of the real API, and say where the sandbox answers otherwise.

The company differs, so values are not compared but their form: status, headers that matter, names
and their order, types, formats, nulls, and how `ia::meta` counts. Of models every attribute of
every field is compared, save custom ones, which every company has its own of; of errors what a
program acts on. What a request names that only the recorded company has (keys, ids, dates) is
replaced by the like of the sandbox's company.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from intacct_sandbox.company import CLIENT_ID, CLIENT_SECRET, COMPANY
from intacct_sandbox.control.clock import LAST_DAY
from intacct_sandbox.objects.catalogue import FieldGroup, ObjectCatalogue, load_catalogue

from .comparison import ReplayDifference, compare, json_of, subject
from .recordings import RecordedExchange

_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True)
class ReplayVerdict:
    """What became of one exchange."""

    exchange: RecordedExchange
    differences: Sequence[ReplayDifference]
    notes: Sequence[str] = ()
    """What was changed in the request so that it makes sense in the sandbox's company."""
    skipped: str | None = None
    """Why it was not replayed."""

    @property
    def subject(self) -> str:
        """`query accounts-receivable/invoice`, `model …`, `POST …`: what a parity row names."""
        return subject(self.exchange)


class Replay:
    """Replays exchanges against one running sandbox, whose base URL it is given."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._host, self._port, self._base = parts.hostname or "", parts.port, parts.path
        self._catalogue: ObjectCatalogue = load_catalogue()
        self._token: str | None = None
        self._picked: dict[str, dict[str, Any] | None] = {}

    def run(self, exchange: RecordedExchange) -> ReplayVerdict:
        """Return the verdict on one exchange."""
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
            return ReplayVerdict(exchange, list(compare(exchange, status, headers, answer)))
        return ReplayVerdict(exchange, (), skipped="neither a token, nor a service, nor an object")

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
        """Return some active record of an object: its key and id, entity E110's or shared."""
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

    def _replay_token(self, exchange: RecordedExchange) -> ReplayVerdict:
        sent = dict(parse_qsl(exchange.body or "")) or json_of(exchange.body)
        grant = sent.get("grant_type") if isinstance(sent, dict) else None
        if grant == "refresh_token":
            _, _, text = self._log_in(_as_top("client_credentials"))
            form = {**_as_top(grant), "refresh_token": str(json.loads(text)["refresh_token"])}
        elif grant == "client_credentials":
            form = _as_top(grant)
        else:
            return ReplayVerdict(
                exchange, (), skipped=f"grant {grant}: it needs a person's consent"
            )
        status, headers, answer = self._log_in(form)
        notes = ("credentials are the sandbox's",)
        if exchange.status is not None and exchange.status >= 400:
            return ReplayVerdict(
                exchange, (), skipped="a rejected log-in depends on what was wrong in it"
            )
        return ReplayVerdict(exchange, list(compare(exchange, status, headers, answer)), notes)

    def _replay_query(self, exchange: RecordedExchange) -> ReplayVerdict:
        asked = json_of(exchange.body)
        status, headers, text = self._ask(exchange.method, exchange.path, exchange.body)
        recorded, answer = json_of(exchange.answer), json_of(text)
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
            answer = json_of(text)
        found = [
            one
            for one in compare(exchange, status, headers, text)
            if not (notes and one.where in ("meta.start", "meta.pageSize"))
        ]
        return ReplayVerdict(exchange, found, notes)

    def _replay_object(self, exchange: RecordedExchange) -> ReplayVerdict:
        path = urlsplit(exchange.path).path
        _, application, short, *keys = path.strip("/").split("/")
        object_ = f"{application}/{short}"
        notes: list[str] = []
        body = exchange.body
        if object_ in self._catalogue and keys:
            if exchange.method not in ("GET", "OPTIONS"):
                why = f"{exchange.method} of a record that only the recorded company has"
                return ReplayVerdict(exchange, (), skipped=why)
            record = self._record(object_) if exchange.status in (200, None) else None
            if record is not None:
                many = ",".join([record["key"]] * len(keys[0].split(",")))
                path = f"/objects/{object_}/{many}"
                notes.append(f"the record is {record['key']}")
        elif object_ in self._catalogue and exchange.method == "POST" and exchange.status:
            sent = json_of(body)
            items = sent if isinstance(sent, list) else [sent]
            root = self._catalogue[object_].root
            likened = [self._likened(root, one) for one in items]
            body = json.dumps(likened if isinstance(sent, list) else likened[0])
            notes.append("references and dates are the sandbox's")
        status, headers, text = self._ask(exchange.method, path, body)
        return ReplayVerdict(exchange, list(compare(exchange, status, headers, text)), notes)

    def _likened(self, group: FieldGroup, body: Any) -> Any:
        """Return a body with references and dates that the sandbox's company knows."""
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


def _rows(answer: Any) -> list[Any]:
    result = answer.get("ia::result") if isinstance(answer, dict) else None
    return result if isinstance(result, list) else []
