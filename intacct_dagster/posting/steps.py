"""The steps of posting, so that a test can stop at each."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Step(StrEnum):
    """Every step of posting that lasts (a commit) or leaves this process (a request).

    The process may die before and after each; a test kills it there and looks what came of it.
    """

    SCOPE = "prove that the session is in its entity"
    LOOK = "ask Intacct for the source ids before planning"
    PLAN = "write the plan"
    CLAIM = "claim a chunk for sending"
    SEND = "send a chunk"
    RECORD = "record the answer"
    DOUBT = "record that there was no answer"
    GIVE_BACK = "record that the request never arrived"
    SPLIT = "split a chunk"
    PUT_BACK = "record that nothing was created"
    ASK_MODEL = "ask whether the object supports idempotence"
    CLAIM_REPLAY = "note that the same bytes go out again"
    REPLAY = "send the same bytes again"
    READ_BACK = "ask Intacct for the source ids of a chunk"
    TRY_LOOKING = "ask Intacct for documents that were posted"
    LOOKED = "note that Intacct does not hold all of a chunk"
    RESOLVE = "resolve a chunk by what Intacct holds"
    COMPARE = "ask Intacct for the documents that a chunk changes"


#: Called with each step, before it ("before") and once it is done ("after").
Watch = Callable[[Step, str], None]


def unwatched(step: Step, moment: str) -> None:
    """Do nothing."""
