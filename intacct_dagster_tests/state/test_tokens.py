"""Sessions at rest: encrypted, and renewed by one process at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from intacct_dagster.state.encryption_key import KEY_VARIABLE, TokenKeyWrong, token_key
from intacct_dagster.state.store import StateStoreUnusable, open_state
from intacct_dagster.state.tokens import (
    LEASE_SECONDS,
    EncryptedTokenStore,
    TokenLockTimeout,
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_state(f"sqlite:///{tmp_path}/state.db")
    yield engine
    engine.dispose()


class Time:
    """A clock that moves only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def store(engine: sa.Engine, key: bytes, time: Time | None = None) -> EncryptedTokenStore:
    clock = time or Time()
    return EncryptedTokenStore(engine, key, now=clock, sleep=clock.sleep)


def test_a_session_comes_back_as_it_was_stored(engine: sa.Engine) -> None:
    tokens = store(engine, Fernet.generate_key())
    assert tokens.get("demo|E110") is None
    tokens.put("demo|E110", b"first")
    tokens.put("demo|E110", b"second")
    assert tokens.get("demo|E110") == b"second"
    assert tokens.get("demo|E120") is None


def test_no_secret_is_in_the_files_in_clear(engine: sa.Engine, tmp_path: Path) -> None:
    store(engine, Fernet.generate_key()).put("demo|E110", b"a-refresh-token")
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert files
    assert not [path for path in files if b"a-refresh-token" in path.read_bytes()]


def test_a_wrong_key_says_so_and_destroys_nothing(engine: sa.Engine) -> None:
    right = Fernet.generate_key()
    store(engine, right).put("demo|E110", b"session")
    with pytest.raises(TokenKeyWrong, match=r"demo\|E110"):
        store(engine, Fernet.generate_key()).get("demo|E110")
    assert store(engine, right).get("demo|E110") == b"session"


def test_the_key_file_is_made_once_and_only_its_owner_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    key = token_key(tmp_path)
    assert token_key(tmp_path) == key
    assert (tmp_path / "token.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["token.key"]


def test_a_malformed_key_is_reported_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "not-a-key")
    with pytest.raises(TokenKeyWrong, match=KEY_VARIABLE) as raised:
        token_key(tmp_path)
    assert "not-a-key" not in str(raised.value)


def test_a_second_holder_waits_until_the_first_lets_go(engine: sa.Engine) -> None:
    key, clock = Fernet.generate_key(), Time()
    first, second = store(engine, key, clock), store(engine, key, clock)
    with first.lock("demo|E110"):
        with second.lock("demo|E120"):
            pass  # another session's lock is another lock
        released_by_patience = clock.now + LEASE_SECONDS
        with second.lock("demo|E110"):
            # only the lease's end let it in: the holder counts as dead
            assert clock.now >= released_by_patience
    before = clock.now
    with second.lock("demo|E110"):
        assert clock.now == before


def test_a_lock_that_is_held_is_not_waited_for_where_that_is_asked(engine: sa.Engine) -> None:
    key, clock = Fernet.generate_key(), Time()
    first, second = store(engine, key, clock), store(engine, key, clock)
    with first.lock("demo|E110"), second.try_lock("demo|E110") as taken:
        assert not taken
    assert clock.now == 1_000.0
    with second.try_lock("demo|E110") as taken, first.try_lock("demo|E110") as again:
        assert taken
        assert not again
    with first.try_lock("demo|E110") as taken:
        assert taken
        clock.sleep(LEASE_SECONDS + 1)
        with second.try_lock("demo|E110") as lost:
            assert lost, "a lease runs out"


def test_a_lease_from_before_the_machine_was_started_again_is_over_after_a_minute(
    engine: sa.Engine,
) -> None:
    key, before, after = Fernet.generate_key(), Time(), Time()
    before.now, after.now = 1e9, 10.0
    dead, waiting = store(engine, key, before), store(engine, key, after)
    with dead.lock("demo|E110"), waiting.lock("demo|E110"):
        assert LEASE_SECONDS <= after.now - 10 < LEASE_SECONDS + 1


def test_setting_the_clock_of_the_machine_ends_no_lease(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Fernet.generate_key()
    with EncryptedTokenStore(engine, key).lock("demo|E110"):
        real = time.time
        for off in (-1e6, 1e6):
            monkeypatch.setattr(time, "time", lambda off=off: real() + off)
            with EncryptedTokenStore(engine, key).try_lock("demo|E110") as taken:
                assert not taken


def test_leases_are_counted_by_a_clock_that_all_who_share_a_store_read(state: str) -> None:
    """Two hosts with one PostgreSQL have two clocks, and only the server's is one."""
    engine = open_state(state)
    key = Fernet.generate_key()
    mine = EncryptedTokenStore(engine, key)
    with mine.lock("demo|E110"), EncryptedTokenStore(engine, key).try_lock("demo|E110") as taken:
        assert not taken
    with EncryptedTokenStore(engine, key).try_lock("demo|E110") as taken:
        assert taken
    engine.dispose()


def test_a_lock_that_is_renewed_by_others_for_ever_ends_in_an_error(engine: sa.Engine) -> None:
    key, clock = Fernet.generate_key(), Time()
    mine = store(engine, key, clock)

    def taken_again(seconds: float) -> None:
        clock.sleep(seconds)
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE leases SET until = until + 1000"))

    waiting = EncryptedTokenStore(engine, key, now=clock, sleep=taken_again)
    with (
        mine.lock("demo|E110"),
        pytest.raises(TokenLockTimeout, match=r"demo\|E110"),
        waiting.lock("demo|E110"),
    ):
        pass


def test_a_state_store_of_an_older_version_is_widened(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    engine = open_state(url)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE posting_items DROP COLUMN read_back_at"))
    engine.dispose()

    engine = open_state(url)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT read_back_at FROM posting_items")).all() == []
    engine.dispose()


def test_a_state_store_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateStoreUnusable, match="file"):
        open_state(f"sqlite:///{tmp_path}/file/state.db")
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StateStoreUnusable, match=r"broken\.db"):
        open_state(f"sqlite:///{tmp_path}/broken.db")
