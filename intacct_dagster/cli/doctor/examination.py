"""What the checks of the doctor share: what they examine, and what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property

import sqlalchemy as sa

from intacct_dagster.client import Intacct, IntacctError
from intacct_dagster.company import company_of
from intacct_dagster.config import ConfigError, Settings, load_settings
from intacct_dagster.locks import LockError
from intacct_dagster.state import ApiUsage, StateError, open_state
from intacct_dagster.warehouse import Warehouse, WarehouseError


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "not looked at"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, what was seen, and what to do about it."""

    check: str
    verdict: Verdict
    seen: str
    remedy: str = ""
    entity: str | None = None
    object: str | None = None


@dataclass
class Examination:
    """What the checks look at. `settings` and `state` are there once their checks have passed."""

    entities: tuple[str, ...] = ()
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _settings: Settings | None = None
    _state: sa.Engine | None = None
    _open: ExitStack = field(default_factory=ExitStack)
    working: list[str] = field(default_factory=list)
    """Entities whose session works."""

    @property
    def settings(self) -> Settings:
        """The configuration. Raises ConfigError."""
        if self._settings is None:
            self._settings = load_settings()
            for each in self.entities:
                if each not in self._settings.users:
                    known = ", ".join(self._settings.users)
                    raise ConfigError(f"There is no entity {each}; intacct.yaml has: {known}.")
        return self._settings

    @property
    def state(self) -> sa.Engine:
        """The state store. Raises StateStoreUnusable."""
        if self._state is None:
            self._state = open_state(self.settings.state)
        return self._state

    @cached_property
    def intacct(self) -> Intacct:
        """The company. Raises WarehouseError where its key is missing, wrong or exposed."""
        return self._open.enter_context(company_of(self.settings))

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse, waited for a moment only."""
        return Warehouse(self.settings.warehouse, lock_timeout=2)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The entities that are looked at."""
        return self.entities or self.settings.active

    def close(self) -> None:
        """Counts what was asked, and lets go of everything."""
        if "intacct" in self.__dict__ and self._state is not None:
            usage = self.intacct.usage
            ApiUsage(self._state, self.settings.company).spend(
                at=self.now(),
                run_id="doctor",
                entity="",
                object="",
                requests=usage.requests,
                transactions=usage.transactions,
            )
        self._open.close()
        if self._state is not None:
            self._state.dispose()


Look = Callable[[Examination], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """A thing that is looked at, if what it `needs` was not found broken."""

    name: str
    look: Look
    needs: tuple[str, ...] = ()


def failure(
    check: str, error: Exception, entity: str | None = None, object: str | None = None
) -> Finding:
    """Return an error as a finding: what happened, and on the next lines what to do."""
    what, _, remedy = str(error).partition("\n")
    if not isinstance(error, (ConfigError, IntacctError, LockError, StateError, WarehouseError)):
        what = f"{type(error).__name__}: {' '.join(str(error).splitlines())}"
        remedy = "This is a defect of intacct-dagster: report it."
    if isinstance(error, ConfigError):
        what, remedy = str(error), "Correct intacct.yaml, or the environment that it asks for."
    return Finding(check, Verdict.ERROR, what, " ".join(remedy.splitlines()), entity, object)
