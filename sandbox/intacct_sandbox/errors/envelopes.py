"""The four shapes in which Intacct says no, and the one in which it says yes.

- *result*: `{"ia::result": {"ia::error": …}, "ia::meta": …}`; services and objects (recorded live
  2026-03, and Sage's OpenAPI);
- *top*: `{"ia::error": …, "ia::meta": …}` (Sage's error guide);
- *gateway*: `{"ia::error": …}` with the id as `code` and `details` as one object (same guide);
- *token*: `{"error": {…}}`, or RFC 6749's `{"error": "invalid_grant"}` (integrators say so).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from intacct_sandbox.objects.catalogue import Json

Envelope = Literal["result", "top", "gateway", "token", "oauth"]


@dataclass(frozen=True)
class RejectionDetail:
    """One entry of `details`: a single thing that is wrong with a request."""

    code: str
    message: str
    error_id: str
    message_id: str | None = None
    placeholders: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    """JSON pointer into the body, lines counted from 0."""

    def body(self) -> dict[str, Json]:
        """Return it as it stands in an answer."""
        shown: dict[str, Json] = {
            "errorId": self.error_id,
            "code": self.code,
            "message": self.message,
        }
        if self.target is not None:
            shown["target"] = self.target
        if self.message_id is not None:
            shown["additionalInfo"] = _additional_info(self.message_id, self.placeholders)
        return shown


@dataclass(eq=False)
class Rejection(Exception):
    """A request, or one item of a batch, that is answered with an error."""

    status: int
    code: str
    message: str
    error_id: str
    message_id: str | None = None
    placeholders: Mapping[str, str] = field(default_factory=dict)
    details: Sequence[RejectionDetail] = ()
    envelope: Envelope = "result"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.status} {self.error_id} {self.message}"

    def error(self, support_id: str) -> dict[str, Json]:
        """Return the error object itself, without an envelope."""
        shown: dict[str, Json] = {"code": self.code, "message": self.message}
        if self.error_id:
            shown["errorId"] = self.error_id
        if self.message_id is not None:
            shown["additionalInfo"] = _additional_info(self.message_id, self.placeholders)
        shown["supportId"] = support_id
        if self.details:
            shown["details"] = [detail.body() for detail in self.details]
        return shown

    def body(self, support_id: str) -> dict[str, Json]:
        """Return the whole answer."""
        error = self.error(support_id)
        if self.envelope == "oauth":
            return {"error": self.code, "error_description": self.message}
        if self.envelope == "token":
            return {"error": error}
        if self.envelope == "gateway":
            shown: dict[str, Json] = {"code": self.code, "message": self.message}
            return {"ia::error": {**shown, "details": {"requestId": support_id}}}
        meta: dict[str, Json] = {"totalCount": 1, "totalSuccess": 0, "totalError": 1}
        if self.envelope == "top":
            return {"ia::error": error, "ia::meta": meta}
        return {"ia::result": {"ia::error": error}, "ia::meta": meta}


def _additional_info(message_id: str, placeholders: Mapping[str, str]) -> dict[str, Json]:
    return {"messageId": message_id, "placeholders": dict(placeholders), "propertySet": {}}


def success(result: Json, *, count: int = 1) -> dict[str, Json]:
    """Return a result of which everything went well."""
    return {
        "ia::result": result,
        "ia::meta": {"totalCount": count, "totalSuccess": count, "totalError": 0},
    }


def tally(result: Sequence[Json], errors: int) -> dict[str, Json]:
    """Return a result by item, of which `errors` failed."""
    return {
        "ia::result": list(result),
        "ia::meta": {
            "totalCount": len(result),
            "totalSuccess": len(result) - errors,
            "totalError": errors,
        },
    }
