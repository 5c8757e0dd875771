"""Who asks, and in which entity.

The entity of a request is the one its header names, else the one its token is bound to, else the
top level (fact: Sage's header reference). Headers with any other spelling are ignored, as live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intacct_sandbox.errors import rejections

ENTITY_HEADER = "x-ia-api-param-entity"


@dataclass(frozen=True)
class User:
    """A Web Services user. `entities` None: every entity and the top level; a None among them is
    the top level."""

    id: str
    key: str
    name: str
    entities: frozenset[str | None] | None = None

    def may_enter(self, entity: str | None) -> bool:
        """Whether the user may work in this entity; None is the top level."""
        return self.entities is None or entity in self.entities

    @property
    def home(self) -> str | None:
        """Where a session begins that names no entity: a user of one entity is in it."""
        if self.entities is not None and len(self.entities) == 1:
            return next(iter(self.entities))
        return None


@dataclass(frozen=True)
class Session:
    """A user at work in one entity (by its id), or at the top level with `entity` None."""

    user: User
    entity: str | None


def enter(user: User, entity: str | None, known: Mapping[str, str]) -> Session:
    """A session of `user` in `entity`, or where the user is at home.

    `known`: the entities there are, id -> key. Raises `Refusal` (400 unknown entity, 403 no
    access).
    """
    if entity is not None and entity not in known:
        raise rejections.entity_unknown(entity)
    at = entity if entity is not None else user.home
    if not user.may_enter(at):
        raise rejections.entity_denied(user.id, at or "(top level)")
    return Session(user, at)
