"""Posting under every behaviour of the sandbox that concerns it, and every fault that it plays.

The sandbox itself loses its answers, so that it knows which of them nobody got. Its clock and ours
move together. A world is made from its seed; a failing one names it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from intacct_dagster.client import IntacctError
from intacct_dagster.posting.engine import PostingEngine
from intacct_dagster.posting.results import Sent
from intacct_dagster.posting.settlement import SETTLE_AFTER, Looking, Settlement
from intacct_dagster.state.ledger import Chunk
from intacct_dagster_tests.posting.posting_world import INVOICE, NOBODY, Clock, World
from intacct_dagster_tests.random_worlds import FIRST_SEED, WORLDS
from intacct_sandbox import RunningSandbox, serve

PARTS = 10  # so that two workers share them

#: What concerns posting in the sandbox's behaviours.
BEHAVIOURS = {
    "idempotency_after_timeout": ("replay", "conflict", "forgotten"),
    "idempotency_scope": ("user", "client", "entity"),
    "batch_created": ("status_201", "status_200", "status_207"),
    "batch_failed": ("common", "status_207", "status_400"),
    "mixed_success_status": ("shown", "absent"),
    "error_envelope": ("nested", "top"),
    "audit_precision": ("seconds", "milliseconds"),
}

#: What goes wrong with a request that writes. A status says that all is refused, or that the server
#: failed, whatever it did.
FAULTS: tuple[dict[str, Any], ...] = (
    *({"cut": moment} for moment in ("before", "during", "after")),
    *(
        {"answer": {"status": status, "after_commit": committed, "body": "error"}}
        for status in (400, 408, 409, 422, 500, 502, 503, 504)
        for committed in (False, True)
    ),
    {"answer": {"status": 429}},
    {"answer": {"status": 401}},
    {"answer": {"status": 502, "after_commit": True, "body": "cdn_page"}},
    {"truncate": 0.5},
    {"drop_item": True},
    {"revoke_token": True},
)

#: How much later what is written shows: none, a moment, and nearly as long as is waited for it.
LAGS = (None, 1, SETTLE_AFTER.total_seconds() - 5)

PAUSES = (
    timedelta(0),
    timedelta(minutes=1),
    SETTLE_AFTER,
    timedelta(minutes=31),
    timedelta(hours=49),
)


class TwoClocks(Clock):
    """Our clock, which takes the sandbox's along."""

    def __init__(self, control: str) -> None:
        self._control = control
        super().__init__()

    @property
    def time(self) -> datetime:
        return self._time

    @time.setter
    def time(self, to: datetime) -> None:
        if (before := getattr(self, "_time", to)) < to:
            seconds = (to - before).total_seconds()
            moved = httpx.post(f"{self._control}/clock", json={"advance": f"{seconds:.0f}s"})
            moved.raise_for_status()
        self._time = to


def set_up(control: str, behaviours: dict[str, str], faults: list[dict[str, Any]]) -> None:
    """Give the sandbox these behaviours and this fault plan."""
    httpx.post(f"{control}/behaviours", json=behaviours).raise_for_status()
    httpx.put(f"{control}/faults", json=faults).raise_for_status()


def live(
    seed: int,
    base_url: str,
    folder: Path,
    *,
    engine: type[PostingEngine] = PostingEngine,
    settlement: type[Settlement] = Settlement,
) -> None:
    """One world: documents are posted under faults until every outcome is known."""
    chance = random.Random(seed)
    control = base_url.removesuffix("/ia/api/v1") + "/_sandbox"
    calm = {name: values[0] for name, values in BEHAVIOURS.items()}
    set_up(control, calm, [])
    world = World(
        base_url,
        f"sqlite:///{folder}/{seed}.db",
        prefix=f"{folder.name}-{seed}/",
        clock=TwoClocks(control),
        engine=engine,
        settlement=settlement,
    )
    first = world.item("A")
    world.post([first])
    good = [first, *(world.item(f"S{number}") for number in range(chance.randint(1, 6)))]
    bad = [world.item(f"T{number}", customer=NOBODY) for number in range(chance.randint(0, 1))]
    items, size = [*good, *bad], chance.randint(1, 4)
    behaviours = {name: chance.choice(values) for name, values in BEHAVIOURS.items()}
    rules = [
        {"name": f"fault {number}", "route": "objects", "method": "POST", "chance": 0.5, **fault}
        for number, fault in enumerate(chance.sample(FAULTS, 2))
    ]
    if (lag := chance.choice(LAGS)) is not None:
        rules.append({"name": "lag", "route": "objects", "method": "POST", "late": lag})
    set_up(control, behaviours, rules)
    for _ in range(chance.randint(1, 3)):
        with suppress(IntacctError):
            world.post(chance.sample(items, chance.randint(1, len(items))), size=size)
        world.clock.time += chance.choice(PAUSES)
    set_up(control, behaviours, [])
    try:
        world.recover(items, size=size)
        # A person has those sent again that the faults refused.
        world.ledger.release(INVOICE, "E110", [item.source_id for item in good])
        world.recover(items, size=size)
        world.assert_exactly_once(good, bad)
    except BaseException as error:
        error.add_note(f"world {seed}: {behaviours}, {rules}")
        raise
    finally:
        world.close()


@pytest.fixture(scope="module")
def played() -> Iterator[RunningSandbox]:
    """A sandbox of their own, because its behaviours and faults change."""
    with serve(tier="none") as sandbox:
        yield sandbox


@pytest.mark.worlds
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_intacct_does_each_document_is_posted_exactly_once(
    played: RunningSandbox, tmp_path: Path, part: int
) -> None:
    for seed in range(FIRST_SEED + part, FIRST_SEED + WORLDS, PARTS):
        live(seed, played.base_url, tmp_path)


#: The demo's two ways in which an answer is lost, under each of Sage's possible ways with its key.
LOST = tuple(itertools.product(BEHAVIOURS["idempotency_after_timeout"], ("during", "after")))


@pytest.mark.parametrize(("key", "cut"), LOST)
def test_an_answer_that_the_sandbox_loses_doubles_nothing(
    played: RunningSandbox, tmp_path: Path, key: str, cut: str
) -> None:
    control = played.base_url.removesuffix("/ia/api/v1") + "/_sandbox"
    world = World(
        played.base_url,
        f"sqlite:///{tmp_path}/state.db",
        prefix=f"{key}-{cut}/",
        clock=TwoClocks(control),
    )
    items = [world.item(f"S{number}") for number in range(6)]
    fault = {"name": "lost", "route": "objects", "method": "POST", "cut": cut, "times": 2}
    set_up(control, {"idempotency_after_timeout": key}, [fault])

    world.recover(items, size=2)

    world.assert_exactly_once(items, [])
    world.close()


class ReplaysFirst(Settlement):
    """A mutant: the same bytes go out before anybody looks."""

    def _look(self, chunk: Chunk, *_: object, idempotent: bool) -> Sent:
        return self._replay(chunk, Looking.PROVES, idempotent=idempotent)


class ReplaysSome(Settlement):
    """A mutant: the same bytes go out although some of it was found."""

    def _never_created(self, chunk: Chunk, seen: object, looking: Looking) -> Sent:
        return self._replay(chunk, looking, idempotent=True)


class LooksOnce(Settlement):
    """A mutant: what is not there at the first look, as soon as there is no answer, never was."""

    def _looked_twice(self, chunk: Chunk) -> bool:
        return True

    def settle(self, chunk: Chunk, match_on: str, *rest: Any, idempotent: bool) -> Sent:
        return self._look(chunk, match_on, {}, Looking.PROVES, idempotent=idempotent)


class TakesRefusalsForProof(Settlement):
    """A mutant: of what was refused nothing was created."""

    def after_refusal(self, chunk: Chunk) -> Sent | None:
        return None


@pytest.mark.parametrize(
    "settlement", [ReplaysFirst, ReplaysSome, LooksOnce, TakesRefusalsForProof]
)
def test_what_we_promise_depends_on_how_we_settle(
    played: RunningSandbox, tmp_path: Path, settlement: type[Settlement]
) -> None:
    for seed in range(200):
        try:
            live(seed, played.base_url, tmp_path, settlement=settlement)
        except AssertionError:
            return  # found out: this is what the worlds are for
    pytest.fail("two hundred worlds did not notice")
