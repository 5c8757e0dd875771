"""Set up what holds for every test: retries do not wait, and random examples repeat.

New examples find new faults, but not in the run that has to say whether a change is sound:
`make soak` draws new ones with `--hypothesis-profile=new`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina
from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5):
        yield
