"""Set up what holds for every test: retries do not wait, and random examples repeat.

New examples find new faults, but not in the run that has to say whether a change is sound:
`make soak` draws new ones with `--hypothesis-profile=new`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina
from hypothesis import settings

from intacct_dagster_tests.state.state_stores import STORES, empty_store
from intacct_sandbox import RunningSandbox, serve

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5):
        yield


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    """Yield a sandbox that the tests of a module share."""
    with serve() as running:
        yield running


@pytest.fixture(params=STORES)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of an empty state store, of each kind there is."""
    with empty_store(request.param, tmp_path) as url:
        yield url


@pytest.fixture(scope="session")
def read_company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the golden company as it was read: copy it before writing to it."""
    from intacct_dagster_tests.golden_company import make_read_company

    return make_read_company(tmp_path_factory.mktemp("read_company"))


@pytest.fixture(scope="session")
def posted_company(read_company: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same after posting: copy it before writing to it."""
    from intacct_dagster_tests.golden_company import make_posted_company

    return make_posted_company(read_company, tmp_path_factory.mktemp("posted_company"))
