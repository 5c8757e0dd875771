"""Answers kept under an `Idempotency-Key`, to be given again.

The first answer, good or bad, is given again with its status for 48 hours; the key with another
request, or after the 48 hours and within 60 days, gets 409 (fact: Sage's bulk-requests guide).
Keys belong to a user (fact: Sage's error guide).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from . import refusals
from .catalogue import Json

ANSWER_LIFE = timedelta(hours=48)
"""How long an answer is given again."""

KEY_LIFE = timedelta(days=60)
"""How long a key is taken."""

LONGEST_KEY = 256


@dataclass(frozen=True)
class StoredAnswer:
    """An answer and the request it belongs to, the latter as a hash."""

    user: str
    key: str
    request: str
    status: int
    body: str
    at: datetime

    def kept(self) -> dict[str, Json]:
        """For the journal."""
        return {
            "user": self.user,
            "key": self.key,
            "request": self.request,
            "status": self.status,
            "body": self.body,
            "at": self.at.isoformat(),
        }

    @classmethod
    def from_kept(cls, kept: dict[str, Any]) -> StoredAnswer:
        """From the journal."""
        return cls(**{**kept, "at": datetime.fromisoformat(kept["at"])})


def request_hash(method: str, path: str, entity: str | None, body: bytes) -> str:
    """What makes two requests the same request."""
    head = f"{method} {path} {entity or ''}\n".encode()
    return hashlib.sha256(head + body).hexdigest()


class Answers:
    """The kept answers of one sandbox."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], StoredAnswer] = {}

    def keep(self, answer: StoredAnswer) -> None:
        """Keep an answer under its user and key."""
        self._kept[answer.user, answer.key] = answer

    def find(self, user: str, key: str, request: str, now: datetime) -> StoredAnswer | None:
        """The answer to give again; None when the key is free. Raises `Refusal` (409)."""
        kept = self._kept.get((user, key))
        if kept is None or now - kept.at > KEY_LIFE:
            return None
        if kept.request != request:
            raise refusals.idempotency_conflict(
                "The Idempotency-Key was already used with another request"
            )
        if now - kept.at > ANSWER_LIFE:
            raise refusals.idempotency_conflict(
                "The Idempotency-Key was already used more than 48 hours ago"
            )
        return kept
