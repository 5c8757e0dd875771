from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from intacct_dagster_tests.sandbox.caller import (
    CLIENT,
    INVOICE,
    Caller,
    calling,
    invoice,
)
from intacct_sandbox import Books, Clock, SandboxError, serve

USER = "usa@demo"


def _post(caller: Caller, body: Any, **headers: str) -> Any:
    return caller.call("POST", f"/objects/{INVOICE}", user=USER, json=body, headers=headers)


def _invoices(caller: Caller) -> list[dict[str, Any]]:
    fields = ["key", "description", "totalTxnAmount", "audit.modifiedDateTime"]
    answer = caller.query(USER, INVOICE, fields, orderBy=[{"key": "asc"}], size=4000)
    rows: list[dict[str, Any]] = answer["ia::result"]
    return rows


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    with calling(tmp_path) as caller:
        made = _post(caller, [invoice(description=str(place)) for place in range(3)])
        keys = [item["key"] for item in made.json()["ia::result"]]
        path = f"/objects/{INVOICE}/{keys[1]}"
        caller.call("PATCH", path, user=USER, json={"description": "changed"})
        caller.call("DELETE", f"/objects/{INVOICE}/{keys[2]}", user=USER)
        before, written = _invoices(caller), caller.call("GET", "/_sandbox/books").content
    with calling(tmp_path) as caller:
        assert _invoices(caller) == before
        assert caller.call("GET", "/_sandbox/books").content == written
        fresh = _post(caller, invoice()).json()["ia::result"]["key"]
        assert int(fresh) > int(keys[2])


def test_a_kept_answer_is_given_again_after_a_restart(tmp_path: Path) -> None:
    key = {"Idempotency-Key": "k"}
    with calling(tmp_path) as caller:
        good = _post(caller, invoice(), **key)
        bad = _post(caller, invoice("nobody"), **{"Idempotency-Key": "bad"})
    with calling(tmp_path) as caller:
        assert _post(caller, invoice(), **key).content == good.content
        again = _post(caller, invoice("nobody"), **{"Idempotency-Key": "bad"})
        assert (again.status_code, again.content) == (422, bad.content)
        assert _post(caller, invoice(description="x"), **key).status_code == 409


def test_tokens_outlive_a_restart_and_revoked_ones_stay_dead(tmp_path: Path) -> None:
    def refresh(caller: Caller, token: str) -> int:
        form = {**CLIENT, "grant_type": "refresh_token", "refresh_token": token}
        return int(caller.call("POST", "/oauth2/token", data=form).status_code)

    with calling(tmp_path) as caller:
        kept, dead = caller.log_in("usa@demo"), caller.log_in("can@demo")
        caller.call("POST", "/oauth2/revoke", data={**CLIENT, "token": dead["refresh_token"]})
    with calling(tmp_path) as caller:
        for answer, status in ((kept, 200), (dead, 401)):
            headers = {"Authorization": f"Bearer {answer['access_token']}"}
            response = caller.call("GET", "/services/core/model", headers=headers)
            assert response.status_code == status
        assert refresh(caller, kept["refresh_token"]) == 200
        assert refresh(caller, dead["refresh_token"]) == 400


def test_no_token_is_written_down(tmp_path: Path) -> None:
    with calling(tmp_path) as caller:
        answer = caller.log_in(USER)
    journal = (tmp_path / "journal.jsonl").read_text()
    assert answer["access_token"] not in journal
    assert answer["refresh_token"] not in journal


def test_the_clock_does_not_go_back_over_a_restart(tmp_path: Path) -> None:
    clock = Clock.stopped()
    with calling(tmp_path, clock) as caller:
        clock.advance(timedelta(days=3))
        _post(caller, invoice())
        written_at = clock.now()
    with calling(tmp_path) as caller:
        assert caller.books.clock.now() >= written_at


def test_a_torn_last_line_is_dropped_and_the_journal_goes_on(tmp_path: Path) -> None:
    with calling(tmp_path) as caller:
        _post(caller, invoice(description="whole"))
        _post(caller, invoice(description="torn"))
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with calling(tmp_path) as caller:
        got = [row["description"] for row in _invoices(caller)]
        assert "whole" in got
        assert "torn" not in got
        _post(caller, invoice(description="after"))
    with calling(tmp_path) as caller:
        assert _invoices(caller)[-1]["description"] == "after"


def test_an_unreadable_line_is_an_error_that_names_it(tmp_path: Path) -> None:
    with calling(tmp_path) as caller:
        _post(caller, invoice())
    path = tmp_path / "journal.jsonl"
    lines = path.read_bytes().split(b"\n")
    for damaged in (b"{nonsense", b'{"at": "2026-10-13T18:00:00+00:00", "changes": [[1]]}'):
        path.write_bytes(b"\n".join([*lines[:2], damaged, *lines[2:]]))
        with pytest.raises(SandboxError, match=r"(?s)Line 3 .*journal.*restore the file"):
            Books(state=tmp_path)


def test_books_of_another_seed_are_not_mixed_up(tmp_path: Path) -> None:
    with calling(tmp_path, seed=7):
        pass
    with pytest.raises(SandboxError, match="belong to seed 7, not 8"):
        Books(seed=8, state=tmp_path)
    with calling(tmp_path, seed=7):
        pass


def test_a_directory_serves_one_sandbox_and_says_which(tmp_path: Path) -> None:
    with serve(state=tmp_path) as first:
        card = json.loads((tmp_path / "sandbox.json").read_text())
        assert card == {**first.info, "pid": os.getpid()}
        with pytest.raises(SandboxError) as caught, serve(state=tmp_path):
            pass
        assert first.base_url in str(caught.value)
        assert str(os.getpid()) in str(caught.value)
    assert not (tmp_path / "sandbox.json").exists()
    with serve(state=tmp_path):
        pass


def test_a_state_directory_that_cannot_be_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SandboxError, match="choose another with --state"):
        Books(state=tmp_path / "file" / "below")


def test_a_write_that_cannot_be_journaled_is_not_done(tmp_path: Path) -> None:
    with calling(tmp_path) as caller:
        caller.token(USER)
        before = _invoices(caller)
        assert caller.books.journal is not None
        caller.books.journal.close()
        response = _post(caller, invoice())
        assert response.status_code == 500
        assert response.json()["ia::result"]["ia::error"]["errorId"] == "GW-0001"
        assert _invoices(caller) == before
