"""Old names of keys: accepted with a warning that names the new one, the file and the line."""

from __future__ import annotations

import warnings
from operator import attrgetter
from pathlib import Path

import pytest

from intacct_dagster.config import ConfigError, RenamedKeyWarning, Settings, read_settings
from intacct_dagster.config.renamed import RENAMED
from intacct_dagster_tests.config.test_settings import BASE, FEED, FILE

OLD_FEED = FEED + "    total: {amount: line_amount}\n"
#: old and new name, what the file says, the line of the key, where the setting is, and its value
OLD_KEYS = [
    ("keep_pages", "page_retention_days", "keep_pages: 30 days\n", 12, "page_retention_days", 30),
    ("keep_pages", "page_retention_days", "keep_pages: 7\n", 12, "page_retention_days", 7),
    ("dagster_url", "webserver_url", "dagster_url: http://a\n", 12, "webserver_url", "http://a"),
    (
        *("reading.sweep_months", "delete_scan_months", "reading:\n  sweep_months: 3\n"),
        *(13, "reading.delete_scan_months", 3),
    ),
    (
        *("schedules.runs_at_once", "max_concurrent_runs", "schedules: {runs_at_once: 4}\n"),
        *(12, "schedules.max_concurrent_runs", 4),
    ),
    (
        *("schedules.feed_seconds", "feed_poll_seconds", "schedules: {feed_seconds: 60}\n"),
        *(12, "schedules.feed_poll_seconds", 60),
    ),
    (
        *("schedules.changes_minutes", "change_poll_minutes", "schedules: {changes_minutes: 9}\n"),
        *(12, "schedules.change_poll_minutes", 9),
    ),
]


def read(text: str) -> tuple[Settings, list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        settings = read_settings(text, file=FILE)
        read_settings(text, file=FILE)
    return settings, [each for each in caught if each.category is RenamedKeyWarning]


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read_settings(text, file=FILE)
    return str(raised.value).splitlines()


@pytest.mark.parametrize(("old", "new", "text", "line", "where", "value"), OLD_KEYS)
def test_an_old_name_is_accepted_and_a_warning_is_shown_once(
    old: str, new: str, text: str, line: int, where: str, value: object
) -> None:
    settings, (warning,) = read(BASE + text)
    assert attrgetter(where)(settings) == value
    assert (warning.filename, warning.lineno) == (str(FILE), line)
    assert str(warning.message) == (
        f"{old} is an old name that the next release refuses. Rename it to {new}."
    )
    (key,) = settings.renamed_keys
    assert (key.line, key.old, key.new) == (line, old, new)


def test_the_old_name_of_a_feeds_control_totals_is_accepted() -> None:
    settings, (warning,) = read(BASE + OLD_FEED)
    assert settings.feeds["sales"].control_totals == {"amount": "line_amount"}
    assert warning.lineno == 22
    assert "feeds.sales.total is an old name" in str(warning.message)
    assert "control_totals" in str(warning.message)


def test_every_old_name_is_tested() -> None:
    tested = {old.rpartition(".")[2] for old, *_ in OLD_KEYS} | {"total"}
    assert {old for _, old, _ in RENAMED} == tested


def test_new_names_give_no_warning() -> None:
    settings, caught = read(BASE + "page_retention_days: 30\n")
    assert (settings.page_retention_days, settings.renamed_keys, caught) == (30, (), [])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("reading: {sweep_months: 3,\n  delete_scan_months: 4}\n", 12),
        ("reading: {delete_scan_months: 3,\n  sweep_months: 4}\n", 13),
    ],
)
def test_both_names_at_once_are_an_error_at_the_old_one(text: str, line: int) -> None:
    (error,) = errors(BASE + text)
    assert error == (
        f"{FILE}:{line}: reading.sweep_months is the old name of delete_scan_months, which is "
        "given as well: keep delete_scan_months"
    )


def test_an_error_in_the_value_names_the_key_as_it_is_written() -> None:
    assert errors(BASE + "keep_pages: soon\nschedules: {runs_at_once: 0}\n") == [
        f"{FILE}:12: keep_pages: 'soon' is not a time such as 30 days",
        f"{FILE}:13: schedules.runs_at_once: input should be greater than or equal to 1",
    ]
    (line,) = errors(BASE + OLD_FEED.replace("date: day", "date: day\n    columns: {amount: text}"))
    assert line.startswith(f"{FILE}:23: feeds.sales.total: control_totals: amount is text")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("reading: {delete_scan_month: 3}\n", "delete_scan_months"),
        ("schedules: {feed_pol_seconds: 60}\n", "feed_poll_seconds"),
        ("schedules: {run_at_once: 3}\n", "max_concurrent_runs"),
        ("keep_page: 3\n", "page_retention_days"),
        ("directry: x\n", None),
    ],
)
def test_a_key_that_does_not_exist_is_answered_with_a_new_name(
    text: str, meant: str | None
) -> None:
    (line,) = errors(BASE + text)
    assert line.endswith(f"did you mean '{meant}'?" if meant else ": take it out")


def test_an_old_name_elsewhere_is_no_key() -> None:
    (line,) = errors(BASE + "limits: {keep_pages: 3}\n")
    assert "limits.keep_pages is not a key" in line


def test_the_files_of_the_project_have_the_new_names() -> None:
    project = Path(__file__).parents[2]
    text = (project / "intacct.yaml").read_text(encoding="utf-8")
    assert [old for _, old, _ in RENAMED if f"{old}:" in text] == []
    _, caught = read(text)
    assert caught == []
