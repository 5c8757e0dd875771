"""Reads recorded exchanges with the real API: VCR cassettes (JSON, YAML), HAR files, bare answers.

A bare answer is the body alone. Its request is worked out where that can be done: a model names
itself, and for some errors it is known what brings them about.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from intacct_sandbox.errors import SandboxError

_BASE_PATH = "/ia/api/v1"
_LARGEST_FILE = 200_000_000  # bytes

# What brings an error about, where only the error was recorded.
_PROVOKED: Mapping[str, tuple[str, str, Any]] = {
    "GL-1009": (
        "POST",
        "/objects/general-ledger/journal-entry",
        {
            "glJournal": {"id": "GJ"},
            "postingDate": "2026-10-05",
            "description": "Does not balance",
            "lines": [
                {
                    "txnType": side,
                    "txnAmount": amount,
                    "glAccount": {"id": "60300"},
                    "dimensions": {"location": {"id": "E110"}},
                }
                for side, amount in (("debit", "10.00"), ("credit", "9.00"))
            ],
        },
    ),
}


@dataclass(frozen=True)
class RecordedExchange:
    """One recorded request with its answer."""

    source: str
    """File and number, for people."""
    method: str
    path: str
    """Below the base path, with its query string."""
    headers: Mapping[str, str]
    body: str | None
    status: int | None
    """None where only the body of the answer was recorded."""
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    answer: str = ""


def read_recordings(directory: Path) -> tuple[list[RecordedExchange], list[str]]:
    """Return every exchange below a directory, file by file; and the files in which there is none.

    Raises `SandboxError` when there is no such directory, or no exchange in it.
    """
    if not directory.is_dir():
        raise SandboxError(f"There is no directory {directory}: name one with recordings.")
    found: list[RecordedExchange] = []
    empty: list[str] = []
    for file in sorted(directory.rglob("*")):
        if file.suffix not in (".json", ".yaml", ".yml", ".har") or not file.is_file():
            continue
        name = str(file.relative_to(directory))
        if file.stat().st_size > _LARGEST_FILE:
            raise SandboxError(f"{file} is larger than {_LARGEST_FILE // 10**6} MB.")
        exchanges = list(_exchanges(name, _load(file)))
        found += exchanges
        if not exchanges:
            empty.append(name)
    if not found:
        raise SandboxError(
            f"There is no recorded exchange in {directory}: VCR cassettes (.json, .yaml), HAR "
            "files and bare answers (.json) are read."
        )
    return found, empty


def _load(file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
        return yaml.safe_load(text) if file.suffix in (".yaml", ".yml") else json.loads(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SandboxError(f"{file} cannot be read: {str(error)[:200]}") from None


def _exchanges(name: str, content: Any) -> Iterator[RecordedExchange]:
    if not isinstance(content, dict):
        return
    if isinstance(content.get("interactions"), list):
        for number, one in enumerate(content["interactions"], start=1):
            yield _of_cassette(f"{name} #{number}", one)
    elif isinstance(content.get("log"), dict):
        for number, one in enumerate(content["log"].get("entries", ()), start=1):
            yield _of_har(f"{name} #{number}", one)
    elif "ia::result" in content:
        found = _of_bare_answer(name, content)
        if found is not None:
            yield found


def _path(uri: str) -> str:
    parts = urlsplit(uri)
    path = parts.path.partition(_BASE_PATH)[2] or parts.path
    return f"{path}?{parts.query}" if parts.query else path


def _flat(headers: Any) -> dict[str, str]:
    """Header names in lower case; of several values the first."""
    if isinstance(headers, list):  # HAR
        return {one["name"].lower(): one["value"] for one in headers}
    return {
        name.lower(): str(value[0] if isinstance(value, list) and value else value)
        for name, value in (headers or {}).items()
    }


def _text(body: Any) -> str | None:
    if isinstance(body, dict):
        if "base64_string" in body:
            return base64.b64decode(body["base64_string"]).decode("utf-8", "replace")
        body = body.get("string", "")
    if isinstance(body, bytes):
        return body.decode("utf-8", "replace")
    return None if body is None else str(body)


def _of_cassette(source: str, one: Mapping[str, Any]) -> RecordedExchange:
    request, response = one["request"], one["response"]
    status = response.get("status", {})
    return RecordedExchange(
        source=source,
        method=str(request["method"]).upper(),
        path=_path(str(request.get("uri") or request.get("url"))),
        headers=_flat(request.get("headers")),
        body=_text(request.get("body")),
        status=int(status["code"] if isinstance(status, dict) else status),
        answer_headers=_flat(response.get("headers")),
        answer=_text(response.get("body")) or "",
    )


def _of_har(source: str, one: Mapping[str, Any]) -> RecordedExchange:
    request, response = one["request"], one["response"]
    return RecordedExchange(
        source=source,
        method=str(request["method"]).upper(),
        path=_path(str(request["url"])),
        headers=_flat(request.get("headers")),
        body=request.get("postData", {}).get("text"),
        status=int(response["status"]),
        answer_headers=_flat(response.get("headers")),
        answer=str(response.get("content", {}).get("text") or ""),
    )


def _of_bare_answer(name: str, content: Mapping[str, Any]) -> RecordedExchange | None:
    result = content["ia::result"]
    if isinstance(result, dict) and isinstance(result.get("apiObject"), str):
        path = f"/services/core/model?name={result['apiObject'].removeprefix('objects/')}"
        return RecordedExchange(name, "GET", path, {}, None, None, {}, json.dumps(content))
    error = result.get("ia::error") if isinstance(result, dict) else None
    for detail in (error or {}).get("details", ()):
        provoked = _PROVOKED.get(detail.get("errorId", ""))
        if provoked is not None:
            method, path, body = provoked
            answer = json.dumps(content)
            return RecordedExchange(name, method, path, {}, json.dumps(body), None, {}, answer)
    return None
