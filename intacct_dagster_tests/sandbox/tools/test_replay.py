"""Recorded exchanges against the sandbox. Those in `recordings/` were written for the project, in
the shapes of recordings of the live API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_sandbox import SandboxError, serve
from intacct_sandbox.tools.recordings import RecordedExchange, read_recordings
from intacct_sandbox.tools.replay import Replay

RECORDINGS = Path(__file__).parent.parent / "recordings"


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    with serve() as running:
        yield Replay(running.base_url)


def _exchanges() -> dict[str, RecordedExchange]:
    return {one.source: one for one in read_recordings(RECORDINGS)[0]}


def test_own_recordings_show_no_difference(replay: Replay) -> None:
    verdicts = [replay.run(one) for one in _exchanges().values()]
    assert [str(one) for verdict in verdicts for one in verdict.differences] == []
    assert len(verdicts) == 16
    assert [one.exchange.source for one in verdicts if one.skipped] == ["objects.json #4"]


Change = Callable[[Any], None]


def _in_row(change: Change) -> Change:
    def change_all(answer: Any) -> None:
        for row in answer["ia::result"]:
            change(row)

    return change_all


def _reverse(row: dict[str, Any]) -> None:
    items = list(row.items())[::-1]
    row.clear()
    row.update(items)


def _set(path: str, value: Any) -> Change:
    def change(answer: Any) -> None:
        *above, last = path.split("/")
        for name in above:
            answer = answer[int(name) if isinstance(answer, list) else name]
        answer[last] = value

    return change


@pytest.mark.parametrize(
    ("source", "change", "where"),
    [
        ("customers.json #1", _set("expires_in", 3600), "expires_in"),
        ("customers.json #1", _set("scope", "all"), "body names"),
        ("customers.json #2", _in_row(lambda row: row.pop("status")), "ia::result.0 names"),
        ("customers.json #2", _in_row(lambda row: row.update(more=1)), "ia::result.0 names"),
        ("customers.json #2", _in_row(_reverse), "ia::result.0 order"),
        ("customers.json #2", _in_row(_set("totalDue", 12.5)), "ia::result.0.totalDue"),
        ("customers.json #2", _in_row(_set("totalDue", "12.5000000000")), "ia::result.0.totalDue"),
        ("customers.json #2", _in_row(_set("isOnHold", "false")), "ia::result.0.isOnHold"),
        ("customers.json #2", _in_row(_set("key", 7)), "ia::result.0.key"),
        ("customers.json #2", _in_row(_set("notes", "known")), "ia::result.0.notes"),
        ("customers.json #2", _set("ia::meta/next", 3), "meta.next"),
        ("customers.json #2", _set("ia::meta/pageSize", 50), "meta.pageSize"),
        ("account-pages.json #2", _set("ia::meta/previous", 40 * 41), "meta.previous"),
        ("account-pages.json #2", _set("ia::meta/pages", 3), "meta names"),
        ("invoices.json #1", _set("ia::result/ia::error/errorId", "REST-1"), "error.errorId"),
        ("invoices.json #1", _set("ia::result/ia::error/message", "No."), "error.message"),
        ("invoices.json #3", _in_row(lambda row: row.pop("API_QUERY_ALIAS__10")), "names"),
        ("objects.json #1", _set("ia::result/id", 41), "ia::result.id"),
        ("entry-does-not-balance.json", _set("ia::result/ia::error/details", []), "error.details"),
        ("class-model.json", _set("ia::result/fields/name/nullable", False), "name.nullable"),
        ("class-model.json", _set("ia::result/fields/colour", {}), "model.fields.colour"),
        ("class-model.json", _set("ia::result/lists", {"lines": {}}), "model.lists"),
    ],
)
def test_a_difference_is_reported_with_its_place(
    replay: Replay, source: str, change: Change, where: str
) -> None:
    exchange = _exchanges()[source]
    answer = json.loads(exchange.answer)
    change(answer)
    found = replay.run(replace(exchange, answer=json.dumps(answer))).differences
    assert any(where in one.where for one in found), [str(one) for one in found]


def test_another_status_or_content_type_is_a_difference(replay: Replay) -> None:
    exchange = _exchanges()["customers.json #2"]
    (found,) = replay.run(replace(exchange, status=206)).differences
    assert (found.where, found.recorded) == ("status", "206")
    (found,) = replay.run(
        replace(exchange, answer_headers={"content-type": "text/html", "retry-after": "60"})
    ).differences[:1]
    assert found.where == "header content-type"


def test_cassettes_in_yaml_and_har_files_are_read_as_well(tmp_path: Path) -> None:
    (tmp_path / "cassette.yaml").write_text(
        "interactions:\n- request: {method: GET, uri: 'https://x/ia/api/v1/services/core/model?name=a',"
        " body: null, headers: {}}\n  response: {status: {code: 200}, headers: {A: [b]},"
        " body: {string: '{}'}}\n"
    )
    request = {"method": "GET", "url": "https://x/ia/api/v1/objects/a/b", "headers": []}
    response = {"status": 200, "headers": [{"name": "A", "value": "b"}], "content": {"text": "{}"}}
    entries = [{"request": request, "response": response}]
    (tmp_path / "one.har").write_text(json.dumps({"log": {"entries": entries}}))
    (tmp_path / "other.json").write_text("[1]")
    found, empty = read_recordings(tmp_path)
    assert [one.path for one in found] == ["/services/core/model?name=a", "/objects/a/b"]
    assert [dict(one.answer_headers) for one in found] == [{"a": "b"}] * 2
    assert empty == ["other.json"]


@pytest.mark.parametrize("content", ["{", '{"interactions": []}', "[]"])
def test_a_directory_without_recordings_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "one.json").write_text(content)
    with pytest.raises(SandboxError):
        read_recordings(tmp_path)


def test_the_command_prints_a_verdict_on_each_and_exits_with_1_on_a_difference(
    tmp_path: Path,
) -> None:
    same = CliRunner().invoke(main, ["sandbox", "replay", str(RECORDINGS)])
    assert same.exit_code == 0, same.output
    assert "same  invoices.json #3: query accounts-receivable/invoice" in same.output
    assert "skip  objects.json #4: DELETE company-config/department: " in same.output
    assert "16 exchanges, no difference" in same.output
    text = (RECORDINGS / "customers.json").read_text().replace("43200", "3600")
    (tmp_path / "customers.json").write_text(text)
    other = CliRunner().invoke(main, ["sandbox", "replay", str(tmp_path)])
    assert other.exit_code == 1
    assert "DIFF  customers.json #1: token" in other.output
    assert "expires_in: recorded 3600, sandbox 43200" in other.output
    missing = CliRunner().invoke(main, ["sandbox", "replay", str(tmp_path / "none")])
    assert (missing.exit_code, missing.output.startswith("Error: There is no directory")) == (
        1,
        True,
    )
