"""One session for many processes: renewed once, and usable whoever dies while renewing it."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet

from intacct_dagster.client import (
    AuthenticationRefused,
    Intacct,
)
from intacct_dagster.client.auth.session import RefreshStep
from intacct_dagster.state.tokens import LEASE_SECONDS
from intacct_dagster_tests.client import refresh_child
from intacct_dagster_tests.client.refresh_child import CUSTOMER, company
from intacct_dagster_tests.consent import sent_back_to
from intacct_sandbox import RunningSandbox, serve

EXPIRIES = 200
EIGHT = 8

#: What a person finds after a death at each moment: the session usable, or to be authorized again.
#: Between the answer and the commit nobody has the new refresh token, and the old one is dead.
LOST = {(RefreshStep.ASK, "after"), (RefreshStep.SAVE, "before")}

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([refresh_child.__name__])


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with serve(tier="none") as running:
        yield running


@pytest.fixture
def key() -> bytes:
    return Fernet.generate_key()


@pytest.fixture(params=["grace", "both", "none"])
def lenient(sandbox: RunningSandbox, request: pytest.FixtureRequest) -> Iterator[None]:
    """The sandbox lets a replaced refresh token count for a while, for ever, or replaces none."""
    before = sandbox.books.behaviours["refresh_rotation"]
    sandbox.books.behaviours.choose({"refresh_rotation": request.param})
    yield
    sandbox.books.behaviours.choose({"refresh_rotation": before})


def consent(intacct: Intacct, entity: str, user: str) -> None:
    asked = intacct.ask_consent(entity)
    answer = httpx.URL(sent_back_to(asked.url, user)).params
    intacct.exchange_code(entity, asked, code=answer["code"], state=answer["state"])


def now_of(sandbox: RunningSandbox) -> datetime:
    return sandbox.books.clock.now()


def die_at(
    sandbox: RunningSandbox, state: str, key: bytes, step: RefreshStep, moment: str
) -> datetime:
    """Has a process killed in a renewal of E110's session; the time at which that happened."""
    now = now_of(sandbox)
    intacct = company(sandbox.base_url, state, key, lambda: now)
    consent(intacct, "E110", "usa")
    consent(intacct, "E120", "can")
    if step is RefreshStep.END:
        sandbox.books.tokens.revoke_user("usa")
    child = PROCESSES.Process(
        target=refresh_child.renew_and_die,
        args=(sandbox.base_url, state, key, now, step.name, moment),
    )
    child.start()
    child.join(timeout=60)
    assert child.exitcode == -signal.SIGKILL, f"no renewal came to {step.name}"
    return now


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", list(RefreshStep), ids=lambda step: step.name.lower())
def test_a_death_in_a_renewal_leaves_a_usable_store_or_asks_for_one_consent(
    sandbox: RunningSandbox, tmp_path: Path, key: bytes, step: RefreshStep, moment: str
) -> None:
    state = f"sqlite:///{tmp_path}/state.db"
    now = die_at(sandbox, state, key, step, moment)
    # The dead process held the right to renew: it is lost after a minute, which passes here.
    after = company(sandbox.base_url, state, key, lambda: now, later=LEASE_SECONDS + 1)
    if (step, moment) in LOST or step is RefreshStep.END:
        with pytest.raises(AuthenticationRefused, match="`intacct-dagster authorize E110`"):
            after.entity("E110").count(CUSTOMER)
        assert after.entity("E120").count(CUSTOMER) > 0, "others go on"
        consent(after, "E110", "usa")
    assert after.entity("E110").count(CUSTOMER) > 0
    assert {each.state for each in after.stored_sessions()} <= {"alive", "due"}


@pytest.mark.usefixtures("lenient")
def test_nobody_is_asked_where_the_old_refresh_token_still_counts(
    sandbox: RunningSandbox, tmp_path: Path, key: bytes
) -> None:
    state = f"sqlite:///{tmp_path}/state.db"
    now = die_at(sandbox, state, key, RefreshStep.ASK, "after")
    after = company(sandbox.base_url, state, key, lambda: now, later=LEASE_SECONDS + 1)
    assert after.entity("E110").count(CUSTOMER) > 0


def test_eight_processes_renew_once_for_each_expiry(
    sandbox: RunningSandbox, tmp_path: Path, key: bytes
) -> None:
    control = httpx.Client(base_url=sandbox.base_url.removesuffix("/ia/api/v1") + "/_sandbox")
    state = f"sqlite:///{tmp_path}/state.db"
    clock = PROCESSES.Value("d", 0.0)
    moved = PROCESSES.Barrier(EIGHT + 1)

    def forward(**delta: float) -> None:
        seconds = timedelta(**delta).total_seconds()
        given = {"advance": f"{seconds}s", "running": False}
        shown = control.post("/clock", json=given).json()["now"]
        clock.value = datetime.fromisoformat(shown).timestamp()

    def tokens_asked_for() -> int:
        counted = control.get("/requests").json()
        return int(counted["requests"].get("token POST", 0))

    forward(seconds=1)
    first = company(sandbox.base_url, state, key, lambda: now_of(sandbox))
    consent(first, "E110", "usa")
    assert first.entity("E110").count(CUSTOMER) > 0
    before, refused = tokens_asked_for(), statuses(control, "401")

    eight = [
        PROCESSES.Process(
            target=refresh_child.live,
            args=(sandbox.base_url, state, key, clock, moved, 2 * EXPIRIES),
        )
        for _ in range(EIGHT)
    ]
    for each in eight:
        each.start()
    try:
        for number in range(1, EXPIRIES + 1):
            # Half a minute into the minute over which the eight spread: some are due, some not.
            forward(hours=12, minutes=-5, seconds=-30)
            moved.wait(60)
            moved.wait(60)
            early = tokens_asked_for() - before
            assert early in (number - 1, number)
            # Past that minute, and minutes before the token ends: whoever was not due is now.
            forward(seconds=31)
            moved.wait(60)
            moved.wait(60)
            assert tokens_asked_for() - before == number, f"expiry {number} of {EXPIRIES}"
    except BaseException:
        # Not at a good end: whoever is still on the way out of the last moment would be broken.
        moved.abort()
        raise
    finally:
        for each in eight:
            each.join(60)
    assert [each.exitcode for each in eight] == [0] * EIGHT
    assert statuses(control, "401") == refused, "no request went out with a token that had ended"


def statuses(control: httpx.Client, status: str) -> int:
    return int(control.get("/requests").json()["statuses"].get(status, 0))
