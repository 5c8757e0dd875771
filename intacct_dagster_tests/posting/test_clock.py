"""By a wrong clock nothing is sent and nothing settled, so nothing is posted twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from intacct_dagster.client import ClientCredentials, ClockWrong, Intacct, Query
from intacct_dagster.posting.engine import PostingEngine
from intacct_dagster.posting.steps import Step
from intacct_dagster.state.ledger import ChunkState, ItemState, Ledger
from intacct_dagster_tests.posting.posting_world import INVOICE, TARGET, World
from intacct_sandbox import CLIENT_ID, CLIENT_SECRET, COMPANY, RunningSandbox

FAR = [timedelta(days=3), timedelta(minutes=40), timedelta(days=-3), timedelta(minutes=-40)]


class Network(httpx.BaseTransport):
    """The network. Writes are kept; where `lost` is set, it is called and their answer is lost."""

    def __init__(self) -> None:
        self._network = httpx.HTTPTransport()
        self.writes: list[bytes] = []
        self.lost: Callable[[], None] | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._network.handle_request(request)
        if request.method == "POST" and "/objects/" in request.url.path:
            self.writes.append(request.read())
            if self.lost is not None:
                answer.read()
                self.lost()
                raise httpx.ReadError("connection reset", request=request)
        return answer

    def close(self) -> None:
        self._network.close()


class Machine:
    """An engine on a machine whose clock a test sets; Intacct's is right."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.network = Network()
        self.off = timedelta()
        #: set the clock at a step
        self.jumps: dict[tuple[Step, str], timedelta] = {}
        self.ledger = Ledger(world.state, COMPANY, now=self.now)
        self.intacct = Intacct(
            COMPANY,
            world.base_url,
            ClientCredentials(CLIENT_ID, CLIENT_SECRET),
            {"E110": "usa"},
            transport=self.network,
            wall=self.now,
        )
        client = self.intacct.entity("E110")
        self.engine = PostingEngine(
            client, self.ledger, settle_after=timedelta(0), now=self.now, watch=self._watch
        )

    def now(self) -> datetime:
        return datetime.now(UTC) + self.off

    def _watch(self, step: Step, moment: str) -> None:
        self.off = self.jumps.pop((step, moment), self.off)

    def post(self, *names: str) -> None:
        items = [self.world.item(name) for name in names]
        self.engine.resolve(INVOICE, "referenceNumber")
        self.engine.post(TARGET, items, documents=len(items), run_id="run", chunk_size=500)

    def states(self) -> set[ItemState]:
        return {each.state for each in self.ledger.entries(INVOICE, "E110")}

    def in_intacct(self) -> int:
        mine = {"$startsWith": {"referenceNumber": self.world.prefix}}
        page = self.world.client.query(Query(INVOICE, ("key",), (mine,), size=100))
        return page.total_count


_NUMBERS = itertools.count(1)


@pytest.fixture
def machine(sandbox: RunningSandbox, tmp_path: Path) -> Iterator[Machine]:
    prefix = f"clock {next(_NUMBERS)}-"
    world = World(sandbox.base_url, f"sqlite:///{tmp_path}/state.db", prefix=prefix)
    machine = Machine(world)
    yield machine
    machine.intacct.close()
    world.close()


@pytest.mark.parametrize("off", FAR, ids=str)
def test_by_a_wrong_clock_nothing_is_sent(machine: Machine, off: timedelta) -> None:
    machine.off = off
    with pytest.raises(ClockWrong, match="of accounts-receivable/invoice of entity E110"):
        machine.post("1", "2")
    assert machine.network.writes == []
    machine.off = timedelta()
    machine.post("1", "2")
    assert (machine.states(), machine.in_intacct()) == ({ItemState.POSTED}, 2)


@pytest.mark.parametrize("off", FAR, ids=str)
@pytest.mark.parametrize(
    "moment", [(Step.CLAIM, "before"), (Step.CLAIM, "after"), (Step.PLAN, "after")]
)
def test_a_clock_that_is_set_before_the_first_byte_leaves_the_chunk_ready(
    machine: Machine, off: timedelta, moment: tuple[Step, str]
) -> None:
    machine.jumps[moment] = off
    with pytest.raises(ClockWrong):
        machine.post("1", "2")
    assert machine.network.writes == []
    assert machine.states() == {ItemState.PLANNED}
    (sent,) = machine.ledger.requests(INVOICE, "E110")
    assert (sent.state, sent.first_sent_at) == (ChunkState.READY, None), "no time of a wrong clock"
    machine.off = timedelta()
    machine.post("1", "2")
    assert (machine.states(), machine.in_intacct()) == ({ItemState.POSTED}, 2)


@pytest.mark.parametrize("off", FAR, ids=str)
def test_a_jump_during_a_request_doubles_nothing(machine: Machine, off: timedelta) -> None:
    def jump() -> None:
        machine.off = off

    machine.network.lost = jump
    machine.post("1", "2")
    assert machine.states() == {ItemState.UNCERTAIN}
    machine.network.lost = None
    for _ in range(2):
        (left,) = machine.engine.resolve(INVOICE, "referenceNumber")
        assert left.uncertain == 2
        assert "the clock of this machine is" in left.note
        with pytest.raises(ClockWrong):
            machine.post("3")
    assert len(machine.network.writes) == 1, "nothing went out by the wrong clock"
    machine.off = timedelta()
    machine.post("1", "2", "3")
    assert (machine.states(), machine.in_intacct()) == ({ItemState.POSTED}, 3)


def test_what_the_ledger_has_sent_in_the_future_is_not_settled_and_stops_what_follows(
    machine: Machine,
) -> None:
    """An earlier version, or another machine, sent by a clock that was three days ahead."""
    chunk = machine.world.chunk(machine.world.item("1"))
    ahead = Ledger(machine.world.state, COMPANY, now=lambda: datetime.now(UTC) + timedelta(days=3))
    assert ahead.start_sending(chunk.chunk_id)
    (left,) = machine.engine.resolve(INVOICE, "referenceNumber")
    assert left.uncertain == 1
    assert "that is in the future" in left.note
    with pytest.raises(ClockWrong, match="that is in the future"):
        machine.post("2")
    assert machine.network.writes == []
