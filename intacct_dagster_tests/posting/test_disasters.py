"""What is lost, and what is put back from a backup, posts nothing twice."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_dagster_tests.code_location import FEED, CodeLocation
from intacct_dagster_tests.golden_company import (
    ENTITY,
    FIRST,
    POSTING,
    RAW,
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


@pytest.fixture
def posted(read_company: Path, posted_company: Path, tmp_path: Path) -> Iterator[Posted]:
    folder = copy_company(posted_company, tmp_path / "company")
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


#: What is refused until a person ran which command: writing to the warehouse, or posting.
PAIR, COMPARE = ("state", "pair", "--yes"), ("state", "compare")
REFUSED_UNTIL: dict[str, tuple[tuple[str, ...], ...]] = {
    "the warehouse is lost": (PAIR,),
    "the posting ledger and the sessions are lost": (PAIR, COMPARE),
    "the key of the sessions is lost with them": (PAIR, COMPARE),
    "the ledger is put back as it was before posting": (COMPARE,),
}


@pytest.mark.parametrize("disaster", DISASTERS)
def test_after_a_disaster_the_next_runs_post_nothing_twice(
    posted: Posted, disaster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "intacct_dagster.cli.state_store.load_settings", lambda: posted.location.settings
    )
    DISASTERS[disaster](posted)
    commands = REFUSED_UNTIL.get(disaster, ())
    if PAIR in commands:
        assert "state pair" in failure_of(posted.location, RAW[:1])
        run(*PAIR)
    extract(posted.location)
    if COMPARE in commands:
        assert run("state", "check", exit_code=1).count("state compare")
        assert "state compare" in failure_of(posted.location, POSTING)
        assert posted.location.books() == posted.books
        said = run(*COMPARE)
        assert "gone" not in said
        assert f"{len(posted.books):,} of {len(posted.books):,}" in said
    reconcile_and_post(posted.location)
    assert posted.location.books() == posted.books
    known = posted.location.rows(
        f"SELECT count(DISTINCT source_id) FROM reconciled.{FEED}"
        " WHERE status IN ('matched', 'posted')"
    )
    assert known[0][0] >= len(posted.books)
    assert "agrees with the warehouse" in run("state", "check")


def failure_of(location: CodeLocation, keys: Sequence[dg.AssetKey]) -> str:
    """What the failed steps of a run said."""
    result = location.run(keys, entity=ENTITY, first=FIRST)
    assert not result.success
    failures = [each.step_failure_data.error for each in result.get_step_failure_events()]
    return "\n".join(each.to_string() for each in failures if each is not None)


def run(*command: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, command)
    assert result.exit_code == exit_code, result.output
    return result.output


def test_nothing_is_posted_twice_though_nothing_was_read_again_after_it(posted: Posted) -> None:
    posted.restore(_WAREHOUSE, _STATE, _KEY)
    reconcile_and_post(posted.location)
    assert posted.location.books() == posted.books
