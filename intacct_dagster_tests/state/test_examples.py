"""The examples in the docstrings of the state store run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from intacct_dagster.state import (
    ApiUsage,
    open_state,
)
from intacct_dagster.state.ledger import Accepted, Item
from intacct_dagster.state.ledger.ledger import Ledger

NAMES = (ApiUsage, Ledger, open_state, Accepted, Item, date, datetime)


@pytest.mark.parametrize("module", ["store", "ledger.ledger"])
def test_the_examples_of_the_docstrings_run(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(
        importlib.import_module(f"intacct_dagster.state.{module}"),
        extraglobs={"UTC": UTC, **{each.__name__: each for each in NAMES}},
    )
    assert result.attempted > 0
    assert result.failed == 0
