"""Proof that a session is in its entity, where the rows that were read do not show it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Final

from intacct_dagster.client.auth.session import Session
from intacct_dagster.client.authorized import ENTITY_HEADER
from intacct_dagster.client.errors import About, AccessDenied, RequestRefused, WrongEntity
from intacct_dagster.client.http.priority_executor import PriorityExecutor
from intacct_dagster.client.query import Filter, Query, QueryPage, Scalar

#: Objects whose records are of an entity in nearly every company: they tell whose a session is.
MOSTLY_PRIVATE: Final = (
    "general-ledger/journal-entry",
    "accounts-receivable/invoice",
    "accounts-payable/bill",
)


class EntityScope:
    """Proves once per session that it is in its entity. `ask` sends a query."""

    def __init__(
        self, session: Session, executor: PriorityExecutor, ask: Callable[[Query], QueryPage]
    ) -> None:
        self._session = session
        self._executor = executor
        self._ask = ask
        self._entity = session.entity

    @property
    def parameters(self) -> dict[str, Scalar]:
        """The parameters of a query that is to show all that this session may see."""
        # At the top level, records private to an entity show only if asked for; within an entity
        # the parameter means nothing (Sage's OpenAPI, core-query).
        return {} if self._entity else {"includePrivate": True}

    def prove(self, object: str, *, fenced: bool, at_once: bool = False) -> None:
        """Raise WrongEntity unless this session is in its entity, once the rows do not show it.

        A session at the top level (a header that is ignored, a token of another scope) is shown
        only what the company shares, and a day of the entity looks empty. `includePrivate` tells
        them apart: it adds what is private to entities at the top level, and nothing within one
        (Sage's OpenAPI, core-query). Where it adds nothing, nothing was hidden before, or
        the session is in an entity: in which one is shown by any private row that it sees, be it of
        another object. `at_once` asks also what may turn out not to matter, rather than wait.
        """
        if self._session.proven:
            return
        rank = self._executor.rank()

        def asked(number: Query) -> Future[int]:
            return self._executor.submit(rank, lambda: self._ask(number).total_count)

        def owner_of(other: str) -> Future[str | None]:
            return self._executor.submit(rank, functools.partial(self._owner_of_any, other))

        first = not self._session.asked_whose
        private: tuple[Filter, ...] = ({"$ne": {"entity.id": None}},) if fenced else ()
        everything = Query(object, ("key",), private, size=1, parameters={"includePrivate": True})
        counting = asked(everything)
        seeing = asked(replace(everything, parameters={})) if at_once else None
        owners = [owner_of(object)] if fenced and first else []
        there = counting.result()
        if there:
            seeing = seeing or asked(replace(everything, parameters={}))
            if fenced and not first:
                owners = [owner_of(object)]
        if first and not any(each.result() for each in owners):
            self._session.asked_whose = True
            owners += [owner_of(each) for each in MOSTLY_PRIVATE if not (fenced and each == object)]
        seen = seeing.result() if there and seeing else 0
        if seen < there:
            raise WrongEntity(
                f"{About(self._entity, object)}: the session is at the top level of the company, "
                f"where {there - seen:,} private rows are not shown; nothing of it was kept.",
                remedy=f"Check the user that is configured for {self._entity}, and that no proxy "
                f"drops or renames {ENTITY_HEADER}.",
                entity=self._entity,
                object=object,
            )
        for owner in owners:
            found = owner.result()
            if found not in (None, self._entity):
                raise WrongEntity(
                    f"{About(self._entity, object)}: the session sees what belongs to entity "
                    f"{found}; nothing of it was kept.",
                    remedy=f"The session is not bound to {self._entity}: check the user that is "
                    f"configured for {self._entity}, and that no proxy drops or renames "
                    f"{ENTITY_HEADER}.",
                    entity=self._entity,
                    object=object,
                )
            if found is not None:
                self._session.proven = True
                return

    def _owner_of_any(self, object: str) -> str | None:
        """Return the entity of some private row of `object`, as this session sees it."""
        private: Filter = {"$ne": {"entity.id": None}}
        try:
            page = self._ask(Query(object, ("key", "entity.id"), (private,), size=1))
        except (RequestRefused, AccessDenied):  # not in this company, or not for this user
            return None
        return next((str(row["entity.id"]) for row in page.rows if row.get("entity.id")), None)
