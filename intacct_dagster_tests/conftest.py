"""What holds for every test: retries happen and do not wait, and examples are the same each time.

Random examples find new faults, but not in the run that has to say whether a change is sound:
`make soak` sets INTACCT_WORLDS, and draws them anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import stamina
from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("anew", deadline=None)
settings.load_profile("anew" if "INTACCT_WORLDS" in os.environ else "same")


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5):
        yield
