"""Who asks, and in which entity.

The entity of a request is the one its header names, else the one its token is bound to, else the
top level (fact: Sage's header reference). Headers with any other spelling are ignored, as live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intacct_sandbox.company import User
from intacct_sandbox.errors import rejections

ENTITY_HEADER = "x-ia-api-param-entity"


@dataclass(frozen=True)
class UserSession:
    """A user at work in one entity (by its id), or at the top level with `entity` None."""

    user: User
    entity: str | None


def enter(user: User, entity: str | None, known: Mapping[str, str]) -> UserSession:
    """Return a session of `user` in `entity`, or where the user is at home.

    `known`: the entities there are, id -> key. Raises `Rejection` (400 unknown entity, 403 no
    access).
    """
    if entity is not None and entity not in known:
        raise rejections.entity_unknown(entity)
    at = entity if entity is not None else user.home
    if not user.may_enter(at):
        raise rejections.entity_denied(user.id, at or "(top level)")
    return UserSession(user, at)
