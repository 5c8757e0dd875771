"""A real process killed before and after every step of posting; then another one clears up."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from intacct_dagster.post import Step
from intacct_dagster.sandbox import RunningSandbox, serve
from intacct_dagster_tests.posting_child import documents
from intacct_dagster_tests.posting_world import World

#: The story that leads to each step. A new step is not tested until it has one.
STORIES = {
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
    Step.CLAIM_REPLAY: "lost answer",
    Step.REPLAY: "lost answer",
    Step.READ_BACK: "lost request, days ago",
    Step.SETTLE: "lost answer, days ago",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with serve() as sandbox:
        yield sandbox


def test_every_step_has_a_story() -> None:
    assert set(STORIES) == set(Step)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", list(Step), ids=lambda step: step.name.lower())
def test_a_process_killed_at_a_step_loses_and_doubles_nothing(
    sandbox: RunningSandbox, tmp_path: Path, step: Step, moment: str
) -> None:
    story = STORIES[step]
    state, prefix = f"sqlite:///{tmp_path}/state.db", f"{step.name}-{moment}/"
    child = subprocess.run(
        [
            *(sys.executable, "-m", "intacct_dagster_tests.posting_child"),
            *(sandbox.base_url, state, prefix, story, step.name, moment),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, f"{story}: never came to it\n{child.stderr}"

    world = World(sandbox.base_url, state, prefix=prefix)
    if story == "poisoned":
        world.weather.storm = world.weather.refuse_whole_if_poisoned
    good, bad = documents(world, story)
    world.recover([*good, *bad], size=2)

    world.assert_exactly_once(good, bad)
    world.close()
