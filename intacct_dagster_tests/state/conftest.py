"""Fixtures of the tests of the state store."""

from __future__ import annotations

from collections.abc import Iterator

import keyring
import pytest

from intacct_dagster_tests.state.memory_keyring import InMemory


@pytest.fixture
def ring() -> Iterator[InMemory]:
    before = keyring.get_keyring()
    mine = InMemory()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)
