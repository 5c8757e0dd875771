"""A real process killed before and after every step of posting; then another one clears up."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event

import pytest
from sqlalchemy import make_url

from intacct_dagster.posting.engine import PostingEngine
from intacct_dagster.posting.steps import Step
from intacct_dagster.state.ledger import Ledger
from intacct_dagster_tests.posting import posting_child
from intacct_dagster_tests.posting.posting_world import INVOICE, TARGET, World
from intacct_sandbox import COMPANY, RunningSandbox

#: The story that leads to each step. A new step is not tested until it has one.
STORIES = {
    Step.SCOPE: "calm",
    Step.LOOK: "calm",
    Step.PLAN: "calm",
    Step.CLAIM: "calm",
    Step.SEND: "calm",
    Step.RECORD: "calm",
    Step.DOUBT: "lost answer",
    Step.GIVE_BACK: "no connection",
    Step.SPLIT: "poisoned",
    Step.PUT_BACK: "wrong address",
    Step.ASK_MODEL: "lost answer",
    Step.TRY_LOOKING: "lost answer",
    Step.READ_BACK: "lost answer",
    Step.RESOLVE: "lost answer",
    Step.LOOKED: "lost request",
    Step.CLAIM_REPLAY: "lost request",
    Step.REPLAY: "lost request",
    Step.COMPARE: "lost change",
}

#: Changes take the same steps, and one of their own.
STORIES_OF_CHANGES = {
    Step.LOOK: "change",
    Step.PLAN: "change",
    Step.CLAIM: "change",
    Step.SEND: "change",
    Step.RECORD: "change",
    Step.DOUBT: "lost change",
    Step.COMPARE: "lost change",
    Step.RESOLVE: "lost change",
    Step.LOOKED: "change that did not arrive",
}


# Processes forked from one that has only imported: each is real, and none pays for imports.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([posting_child.__name__])


def test_every_step_has_a_story() -> None:
    assert set(STORIES) == set(Step)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("step", "story"),
    dict.fromkeys((*STORIES.items(), *STORIES_OF_CHANGES.items())),
    ids=lambda each: each.name.lower() if isinstance(each, Step) else each,
)
def test_a_process_killed_at_a_step_loses_and_doubles_nothing(
    sandbox: RunningSandbox, state: str, step: Step, story: str, moment: str
) -> None:
    prefix = f"{step.name}-{story}-{moment}-{make_url(state).get_backend_name()}/"
    child = PROCESSES.Process(
        target=posting_child.main,
        args=(sandbox.base_url, state, prefix, story, step.name, moment),
    )
    child.start()
    child.join(timeout=60)
    assert child.exitcode == -signal.SIGKILL, f"the story {story!r} never came to this step"

    world = World(sandbox.base_url, state, prefix=prefix)
    if story == "poisoned":
        world.network.fault = world.network.refuse_whole_if_poisoned
    good, bad = posting_child.documents(world, story)
    world.recover([*good, *bad], size=2)

    world.assert_exactly_once(good, bad)
    if "change" in story:
        later = [world.otherwise(item) for item in good]
        world.recover_changes(later, size=2)
        world.assert_changed(later)
    world.close()


class Asking(Ledger):
    """A ledger that tells when the lock is asked for."""

    asked: Event

    @contextmanager
    def lock(self, object: str, entity: str) -> Iterator[None]:
        self.asked.set()
        with super().lock(object, entity):
            yield


def test_of_two_processes_with_one_plan_one_posts_and_the_other_finds_it_done(
    sandbox: RunningSandbox, state: str
) -> None:
    prefix = f"two-{make_url(state).get_backend_name()}/"
    under_way, go_on = PROCESSES.Event(), PROCESSES.Event()
    child = PROCESSES.Process(
        target=posting_child.post_slowly,
        args=(sandbox.base_url, state, prefix, under_way, go_on),
    )
    child.start()
    assert under_way.wait(60)

    world = World(sandbox.base_url, state, prefix=prefix)
    ledger = Asking(world.state, COMPANY, now=world.clock)
    ledger.asked = go_on
    engine = PostingEngine(world.intacct.entity("E110"), ledger, now=world.clock)
    good, _ = posting_child.documents(world, "calm")
    assert engine.resolve(INVOICE, "referenceNumber") == [], "nothing was left in doubt"
    planned = engine.plan(TARGET, good, run_id="other", chunk_size=2)
    engine.send(*(chunk.chunk_id for chunk in planned.chunks))
    child.join(60)

    assert child.exitcode == 0
    world.assert_exactly_once(good, [])
    world.close()
