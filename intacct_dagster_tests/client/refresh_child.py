"""Processes that share a session: one is killed while it renews, eight work through the years."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from typing import Protocol

import stamina

from intacct_dagster.client import (
    AuthorizationCode,
    Intacct,
)
from intacct_dagster.client.auth.session import RefreshStep, RefreshWatch, unwatched
from intacct_dagster.state import EncryptedTokenStore, open_state
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, COMPANY

CUSTOMER = "accounts-receivable/customer"
GRANT = AuthorizationCode(CLIENT_ID, CLIENT_SECRET, "http://127.0.0.1:8766/callback")
PATIENCE = 60


class Seconds(Protocol):
    """A time that processes share, in seconds since 1970."""

    value: float


def company(
    base_url: str,
    state: str,
    key: bytes,
    now: Callable[[], datetime],
    *,
    later: float = 0,
    watch: RefreshWatch = unwatched,
) -> Intacct:
    """The company as one process sees it. `later` sets its clock for leases forward."""
    store = EncryptedTokenStore(
        open_state(state),
        key,
        now=lambda: time.time() + later,
        # Eight take turns at each expiry; they look more often than in earnest whose turn it is.
        sleep=lambda seconds: time.sleep(seconds / 20),
    )
    users = {"E110": "usa", "E120": "can"}
    return Intacct(COMPANY, base_url, GRANT, users, store, now=now, concurrency=8, watch=watch)


def renew_and_die(
    base_url: str, state: str, key: bytes, now: datetime, step: str, moment: str
) -> None:
    """Renews the session of E110, and is killed at a step."""

    def watch(reached: RefreshStep, when: str) -> None:
        if (reached.name, when) == (step, moment):
            os.kill(os.getpid(), signal.SIGKILL)

    stamina.set_testing(True)
    company(base_url, state, key, lambda: now, watch=watch).entity("E110").count(CUSTOMER)


def live(
    base_url: str, state: str, key: bytes, clock: Seconds, moved: Barrier, moments: int
) -> None:
    """Asks Intacct something at each of so many moments, whatever the clock shows then."""

    def now() -> datetime:
        return datetime.fromtimestamp(clock.value, UTC)

    intacct = company(base_url, state, key, now)
    client = intacct.entity("E110")
    for _ in range(moments):
        moved.wait(PATIENCE)
        client.count(CUSTOMER)
        moved.wait(PATIENCE)
