"""A page is taken out of an answer as a JSON decoder would take it, and no answer is misread."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intacct_dagster.client.errors import About, AnswerNotUnderstood
from intacct_dagster.client.query import read_page

ABOUT = About("E110", "accounts-receivable/invoice")
TEXTS = st.text() | st.sampled_from(['"ia::meta"', '],"ia::meta":{"totalCount":1}', "]", "}", "\\"])
VALUES = st.none() | st.booleans() | st.integers() | TEXTS
ROWS = st.lists(
    st.dictionaries(TEXTS, VALUES | st.lists(VALUES, max_size=3), max_size=4), max_size=5
)
META = st.fixed_dictionaries(
    {"totalCount": st.integers(0, 10**9), "pageSize": st.integers(0, 4000)},
    optional={"next": st.none() | st.integers(1, 10**9), "start": st.integers(1, 10**9)},
)


@given(ROWS, META, st.booleans(), st.sampled_from([None, 1, 7]), st.booleans())
def test_rows_and_counts_are_those_of_the_answer(
    rows: list[dict[str, Any]],
    meta: dict[str, Any],
    meta_first: bool,
    indent: int | None,
    more: bool,
) -> None:
    answer: dict[str, Any] = {"ia::result": rows, "ia::meta": meta}
    if meta_first:
        answer = dict(reversed(answer.items()))
    if more:
        answer["ia::other"] = {"ia::meta": {"totalCount": -1, "pageSize": 0}}
    page = read_page(json.dumps(answer, indent=indent).encode(), ABOUT)
    assert page.rows == rows
    assert json.loads(bytes(page.raw)) == rows
    shown = (page.total_count, page.page_size, page.next, page.start)
    assert shown == (
        *(meta[name] for name in ("totalCount", "pageSize")),
        meta.get("next"),
        meta.get("start"),
    )


GOOD = b'{"ia::result":[{"key":"1"},{"key":"2"}],"ia::meta":{"totalCount":2,"pageSize":9}}'


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=3))
def test_a_damaged_answer_gives_an_error_or_what_a_decoder_makes_of_it(
    at: int, instead: bytes
) -> None:
    body = GOOD[:at] + instead + GOOD[at + 1 :]
    try:
        expected = json.loads(body)
        rows = expected["ia::result"]
        counts = expected["ia::meta"]["totalCount"], expected["ia::meta"]["pageSize"]
    except (ValueError, KeyError, TypeError):
        with pytest.raises(AnswerNotUnderstood):
            _ = read_page(body, ABOUT).rows
        return
    try:
        page = read_page(body, ABOUT)
        assert (page.rows, page.total_count, page.page_size) == (rows, *counts)
    except AnswerNotUnderstood:
        pass  # stricter than Python's decoder, which takes NaN and control characters


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        GOOD[:-1],
        GOOD + b"]",
        GOOD + GOOD,
        b'{"ia::result":[],"ia::meta":{"totalCount":2,"pageSize":9},"ia::meta":7}',
        b'{"ia::result":[{}],"x":[],"ia::meta":{"totalCount":"2","pageSize":9}}',
    ],
)
def test_what_is_no_answer_is_not_understood(body: bytes) -> None:
    with pytest.raises(AnswerNotUnderstood):
        _ = read_page(body, ABOUT).rows
