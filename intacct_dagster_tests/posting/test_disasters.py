"""What is lost, and what is put back from a backup, posts nothing twice."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from intacct_dagster_tests.code_location import FEED, CodeLocation
from intacct_dagster_tests.golden_company import (
    copy_company,
    extract,
    open_company,
    reconcile_and_post,
)


@dataclass(frozen=True)
class Posted:
    """A company whose documents were posted, and a backup from just before that."""

    location: CodeLocation
    backup: Path
    books: Counter[str]

    @property
    def data(self) -> Path:
        """The folder that holds the warehouse and the state store."""
        return self.location.settings.warehouse.parent

    def lose(self, *patterns: str) -> None:
        for pattern in patterns:
            for path in self.data.glob(pattern):
                if path.is_file():  # and no folder: of those, there are only locks
                    path.unlink()

    def restore(self, *patterns: str) -> None:
        self.lose(*patterns)
        for pattern in patterns:
            for path in self.backup.glob(pattern):
                if path.is_file():
                    shutil.copy2(path, self.data)


@pytest.fixture(scope="module")
def posted(
    read_company: Path, posted_company: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Posted]:
    folder = copy_company(posted_company, tmp_path_factory.mktemp("company"))
    with open_company(folder) as location:
        created = location.books()
        assert len(created) > 100
        assert set(created.values()) == {1}
        yield Posted(location, read_company / "data", created)


_WAREHOUSE, _STATE, _KEY = "warehouse*", "state.db*", "token.key"

DISASTERS: dict[str, Callable[[Posted], None]] = {
    "the warehouse is lost": lambda it: it.lose(_WAREHOUSE),
    "the posting ledger and the sessions are lost": lambda it: it.lose(_STATE),
    "the key of the sessions is lost with them": lambda it: it.lose(_STATE, _KEY),
    "all is lost": lambda it: it.lose(_WAREHOUSE, _STATE, _KEY),
    "the warehouse is put back as it was before posting": lambda it: it.restore(_WAREHOUSE),
    "the ledger is put back as it was before posting": lambda it: it.restore(_STATE, _KEY),
    "all is put back as it was before posting": lambda it: it.restore(_WAREHOUSE, _STATE, _KEY),
}


@pytest.mark.parametrize("disaster", DISASTERS)
def test_after_a_disaster_the_next_runs_post_nothing_twice(posted: Posted, disaster: str) -> None:
    DISASTERS[disaster](posted)
    extract(posted.location)
    reconcile_and_post(posted.location)
    assert posted.location.books() == posted.books
    known = posted.location.rows(
        f"SELECT count(DISTINCT source_id) FROM reconciled.{FEED}"
        " WHERE status IN ('matched', 'posted')"
    )
    assert known[0][0] >= len(posted.books)


def test_nothing_is_posted_twice_though_nothing_was_read_again_after_it(posted: Posted) -> None:
    posted.restore(_WAREHOUSE, _STATE, _KEY)
    reconcile_and_post(posted.location)
    assert posted.location.books() == posted.books
