"""What the authorization server keeps: grants and authorization codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

GrantKind = Literal["authorization_code", "client_credentials"]


@dataclass
class Grant:
    """A standing permission: one consent, or one login with client credentials."""

    id: str
    kind: GrantKind
    user: str
    entity: str | None
    refresh: str | None
    """Hash of the refresh token that counts now."""
    refresh_number: int = 0
    """The number that the refresh token follows from."""
    renewed_at: datetime | None = None
    public: bool = False
    """Whether the application has no secret: its consent was proven by PKCE."""
    former: dict[str, datetime] = field(default_factory=dict)
    """Hashes of the refresh tokens before it, and when each was replaced."""


@dataclass(frozen=True)
class Code:
    """What an authorization code stands for until it is exchanged."""

    user: str
    redirect_uri: str
    challenge: str | None
    challenge_method: str
    offline: bool
    until: datetime
