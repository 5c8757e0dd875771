"""Posting over a faulty network, by two runs at once that die at random: nothing lost or doubled.

A world is made from its seed; a failing one names it. INTACCT_WORLDS says how many there are.
"""

from __future__ import annotations

import json
import random
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import msgspec
import pytest

from intacct_dagster.client import BatchResponse, IntacctError, OutcomeUnknown
from intacct_dagster.posting.engine import PostingEngine, _Tries
from intacct_dagster.posting.results import Sent
from intacct_dagster.posting.settlement import Settlement
from intacct_dagster.posting.steps import Step
from intacct_dagster.state.ledger import Chunk, Item
from intacct_dagster_tests.posting.posting_world import NOBODY, Clock, Fault, FaultyNetwork, World
from intacct_dagster_tests.random_worlds import WORLDS
from intacct_dagster_tests.state.state_stores import STORES, empty_store
from intacct_sandbox import RunningSandbox

PARTS = 10  # so that two workers share them

FAULTS = (
    "let_through",
    "refuse_connection",
    "lose_request",
    "lose_answer",
    "cut_answer",
    "fail_before_commit",
    "fail_after_commit",
    "throttle",
    "revoke_token",
    "deliver_twice",
    "answer_one_short",
)
PAUSES = (
    timedelta(0),
    timedelta(minutes=1),
    timedelta(minutes=31),
    timedelta(hours=49),
    timedelta(days=61),
)

WHILE_THE_KEY_LIVES = PAUSES[:3]


@dataclass(frozen=True)
class Kinds:
    """What a world is made of; a mutant has one of its own."""

    network: type[FaultyNetwork] = FaultyNetwork
    engine: type[PostingEngine] = PostingEngine
    settlement: type[Settlement] = Settlement
    pauses: tuple[timedelta, ...] = PAUSES


class Died(BaseException):
    """A process that is no more: nothing of ours may catch it."""


def live(
    seed: int,
    base_url: str,
    folder: Path,
    kinds: Kinds | None = None,
) -> None:
    """One world, from its seed to the last judgement, on a state store of its own."""
    own = folder / str(seed)
    own.mkdir()
    with empty_store(STORES[seed % len(STORES)], own) as state:
        _live(seed, base_url, state, f"{folder.name}-{seed}/", kinds or Kinds())


def _live(
    seed: int,
    base_url: str,
    state: str,
    prefix: str,
    kinds: Kinds,
) -> None:
    chance = random.Random(seed)
    clock = Clock()

    def watch(step: Step, moment: str) -> None:
        if chance.random() < mortality:
            raise Died(f"{moment} {step}")

    mortality = 0.0
    runs = [
        World(
            base_url,
            state,
            prefix=prefix,
            watch=watch,
            watch_changes=watch,
            clock=clock,
            network=kinds.network,
            engine=kinds.engine,
            settlement=kinds.settlement,
        )
        for _ in range(2)
    ]
    # Of a company in which nothing was posted yet, a person must settle what the key cannot.
    first = runs[0].item("A")
    runs[0].post([first])
    good = [first, *(runs[0].item(f"S{number}") for number in range(chance.randint(1, 7)))]
    bad = [runs[0].item(f"B{number}", customer=NOBODY) for number in range(chance.randint(0, 2))]
    items = [*good, *bad]
    chance.shuffle(items)
    size = chance.randint(1, 4)
    for run in runs:
        run.network.fault = _fault(chance, run.network)
    for _ in range(chance.randint(1, 3)):
        mortality = chance.choice((0.0, 0.02, 0.1))
        _run_at_once(chance, runs, items, size)
        clock.time += chance.choice(kinds.pauses)
    mortality = 0.0
    runs[0].network.fault = None
    runs[0].recover(items, size=size)
    for run in runs:
        run.network.numbers_itself = False
    runs[0].assert_exactly_once(good, bad)
    if seed % 2:
        later = [runs[0].otherwise(item) for item in good]
        for _ in range(chance.randint(1, 2)):
            mortality = chance.choice((0.0, 0.02, 0.1))
            for run in runs:
                run.network.fault = _fault(chance, run.network)
                with suppress(IntacctError, Died):
                    run.change(chance.sample(later, chance.randint(1, len(later))), size=size)
            clock.time += chance.choice(PAUSES)
        mortality = 0.0
        runs[0].network.fault = None
        runs[0].recover_changes(later, size=size)
        runs[0].assert_changed(later)
        runs[0].assert_exactly_once(good, bad)
    for run in runs:
        run.close()


def _fault(chance: random.Random, network: FaultyNetwork) -> Fault:
    severity = chance.choice((0.2, 0.5, 0.9))

    def fault(request: httpx.Request) -> httpx.Response | None:
        kind = chance.choice(FAULTS) if chance.random() < severity else "let_through"
        answer: httpx.Response | None = getattr(network, kind)(request)
        return answer

    return fault


def _run_at_once(chance: random.Random, runs: list[World], items: list[Item], size: int) -> None:
    """Both runs settle and plan, then their chunks go out in any order; either may die."""
    to_send: list[tuple[World, Chunk]] = []
    for run in chance.sample(runs, len(runs)):
        with suppress(IntacctError, Died):
            run.resolve()
            some = chance.sample(items, chance.randint(1, len(items)))
            to_send += [(run, chunk) for chunk in run.plan(*some, size=size)]
    chance.shuffle(to_send)
    for run, chunk in to_send:
        with suppress(IntacctError, Died):
            run.engine.send(chunk.chunk_id)


@pytest.mark.worlds
@pytest.mark.parametrize("part", range(PARTS))
def test_on_any_network_each_document_is_posted_exactly_once(
    sandbox: RunningSandbox, tmp_path: Path, part: int
) -> None:
    for seed in range(part, WORLDS, PARTS):
        try:
            live(seed, sandbox.base_url, tmp_path)
        except BaseException as error:
            error.add_note(f"world {seed}")
            raise


class NumbersItself(FaultyNetwork):
    """Intacct numbers the documents itself, so that looking for them proves nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers_itself = True


@pytest.mark.worlds
@pytest.mark.parametrize("part", range(PARTS))
def test_where_looking_proves_nothing_the_key_decides(
    sandbox: RunningSandbox, tmp_path: Path, part: int
) -> None:
    kinds = Kinds(network=NumbersItself, pauses=WHILE_THE_KEY_LIVES)
    for seed in range(part, WORLDS, PARTS):
        try:
            live(seed, sandbox.base_url, tmp_path, kinds)
        except BaseException as error:
            error.add_note(f"world {seed}")
            raise


class WithoutKey(FaultyNetwork):
    """A mutant: the request names no key."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers.pop("Idempotency-Key", None)
        return super().handle_request(request)


class RandomKey(NumbersItself):
    """A mutant: every sending has a key of its own."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "Idempotency-Key" in request.headers:
            request.headers["Idempotency-Key"] = uuid.uuid4().hex
        return super().handle_request(request)


class WithoutKeyOfChanges(FaultyNetwork):
    """A mutant: the request of a change names no key."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            request.headers.pop("Idempotency-Key", None)
        return super().handle_request(request)


class TakesChangesForMade(Settlement):
    """A mutant: a change whose outcome is not known counts as made."""

    def _compare(self, chunk: Chunk) -> Sent:
        items = self._ledger.sent(chunk.chunk_id)
        made = {item.source_id: (str(json.loads(item.payload)["key"]), None) for item in items}
        self._ledger.resolve_by_read_back(chunk.chunk_id, made, "believed")
        return Sent(chunk.chunk_id, chunk.size, posted=len(made))


class RetriesTheUnknown(PostingEngine):
    """A mutant: a timeout or a 5xx counts as "it did not happen"."""

    def _create(self, chunk: Chunk) -> BatchResponse:
        try:
            return super()._create(chunk)
        except OutcomeUnknown:
            self._ledger.nothing_created(chunk.chunk_id, http_status=503, note="retried")
            raise


class OtherPositions(PostingEngine):
    """A mutant: results are matched by something else than their position."""

    def _create(self, chunk: Chunk) -> BatchResponse:
        answer = super()._create(chunk)
        last = len(answer.outcomes) - 1
        turned = tuple(
            msgspec.structs.replace(outcome, position=last - outcome.position)
            for outcome in answer.outcomes
        )
        return BatchResponse(answer.http_status, turned, answer.whole, answer.replayed)


class WritesAfterSending(PostingEngine):
    """A mutant: the ledger learns of a request when its answer is there."""

    def _send(self, chunk_id: str, splits: _Tries) -> Sent:
        chunk = self._ledger.chunk(chunk_id)
        with self._step(Step.SEND):
            answer = self._create(chunk)
        with self._step(Step.CLAIM):
            if not self._ledger.start_sending(chunk_id):
                return Sent(chunk_id, chunk.size)
        return self._record(chunk, answer)


@pytest.mark.parametrize(
    ("network", "engine", "settlement"),
    [
        (WithoutKey, PostingEngine, Settlement),
        (RandomKey, PostingEngine, Settlement),
        (FaultyNetwork, RetriesTheUnknown, Settlement),
        (FaultyNetwork, OtherPositions, Settlement),
        (FaultyNetwork, WritesAfterSending, Settlement),
        (WithoutKeyOfChanges, PostingEngine, Settlement),
        (FaultyNetwork, PostingEngine, TakesChangesForMade),
    ],
)
def test_what_we_promise_depends_on_how_we_post(
    sandbox: RunningSandbox,
    tmp_path: Path,
    network: type[FaultyNetwork],
    engine: type[PostingEngine],
    settlement: type[Settlement],
) -> None:
    pauses = WHILE_THE_KEY_LIVES if issubclass(network, NumbersItself) else PAUSES
    for seed in range(60):
        try:
            live(
                seed,
                sandbox.base_url,
                tmp_path,
                Kinds(network=network, engine=engine, settlement=settlement, pauses=pauses),
            )
        except AssertionError:
            return  # found out: this is what the worlds are for
    pytest.fail("sixty worlds did not notice")
