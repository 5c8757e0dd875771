from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intacct_dagster_tests.sandbox.caller import CUSTOMER, INVOICE, Caller, calling, messages
from intacct_sandbox.query.filters import Comparison, comparable, read_filter

USER = "usa@demo|E110"
LINE = "accounts-receivable/invoice-line"


def _ask(caller: Caller, **query: Any) -> Any:
    return caller.call("POST", "/services/core/query", user=USER, json=query)


# --- shape ------------------------------------------------------------------------------------


def test_rows_are_flat_and_hold_what_was_asked_and_the_unasked_column(
    shared_caller: Caller,
) -> None:
    fields = ["key", "customer.name", "audit.modifiedDateTime", "totalTxnAmount", "eInvoiceStatus"]
    row = shared_caller.query(USER, INVOICE, fields, size=1)["ia::result"][0]
    assert list(row) == ["API_QUERY_ALIAS__6", *fields]
    assert row["eInvoiceStatus"] is None
    assert isinstance(row["key"], str)
    Decimal(row["totalTxnAmount"])
    datetime.strptime(row["audit.modifiedDateTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def test_meta_tells_the_whole_count_and_the_neighbouring_pages(shared_caller: Caller) -> None:
    total = shared_caller.query(USER, CUSTOMER, ["key"], size=1)["ia::meta"]["totalCount"]
    assert 300 < total < 420

    def meta(start: int) -> Any:
        return shared_caller.query(USER, CUSTOMER, ["key"], start=start, size=150)["ia::meta"]

    assert meta(1) == {
        "totalCount": total,
        "start": 1,
        "pageSize": 150,
        "next": 151,
        "previous": None,
    }
    assert (meta(151)["next"], meta(151)["previous"]) == (301, 1)
    assert (meta(301)["next"], meta(301)["previous"]) == (None, 151)
    assert meta(total - 150)["next"] == total
    assert meta(total - 149)["next"] is None


def test_pages_without_an_order_are_shuffled_and_together_complete(shared_caller: Caller) -> None:
    keys: list[str] = []
    for start in (1, 151, 301):
        answer = shared_caller.query(USER, CUSTOMER, ["key"], start=start, size=150)
        keys += [row["key"] for row in answer["ia::result"]]
    assert len(keys) == len(set(keys)) == answer["ia::meta"]["totalCount"]
    assert keys != sorted(keys, key=int)


def test_nothing_found_is_an_empty_answer(shared_caller: Caller) -> None:
    answer = shared_caller.query(USER, CUSTOMER, ["key"], filters=[{"$eq": {"id": "nobody"}}])
    assert answer["ia::result"] == []
    assert answer["ia::meta"]["totalCount"] == 0
    assert answer["ia::meta"]["next"] is answer["ia::meta"]["previous"] is None


def test_a_renamed_customer_shows_on_its_invoices() -> None:
    with calling() as caller:
        row = caller.query(USER, INVOICE, ["key", "customer.key"], size=1)["ia::result"][0]
        path = f"/objects/{CUSTOMER}/{row['customer.key']}"
        renamed = caller.call("PATCH", path, user="top@demo", json={"name": "New Name"})
        assert renamed.status_code == 200
        filters = [{"$eq": {"key": row["key"]}}]
        after = caller.query(USER, INVOICE, ["customer.name"], filters=filters)
        assert after["ia::result"][0]["customer.name"] == "New Name"


def test_a_customer_owes_what_its_open_invoices_come_to(shared_caller: Caller) -> None:
    top = "top@demo"
    everything = {"filterParameters": {"includePrivate": True}}
    invoices = shared_caller.query(
        top,
        INVOICE,
        ["customer.key", "totalBaseAmountDue"],
        filters=[{"$eq": {"customer.key": "1"}}],
        size=4000,
        **everything,
    )
    owed = sum(Decimal(row["totalBaseAmountDue"]) for row in invoices["ia::result"])
    customer = shared_caller.query(
        top, CUSTOMER, ["totalDue"], filters=[{"$eq": {"key": "1"}}], **everything
    )
    assert Decimal(customer["ia::result"][0]["totalDue"]) == owed > 0


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("today", "2026-10-13", "2026-10-13"),
        ("yesterday", "2026-10-12", "2026-10-12"),
        ("currentWeek", "2026-10-12", "2026-10-18"),
        ("lastWeek", "2026-10-05", "2026-10-11"),
        ("priorMonth", "2026-09-01", "2026-09-30"),
        ("currentQuarter", "2026-10-01", "2026-12-31"),
        ("priorQuarter", "2026-07-01", "2026-09-30"),
        ("currentYear", "2026-01-01", "2026-12-31"),
        ("priorYear", "2025-01-01", "2025-12-31"),
    ],
)
def test_dates_may_be_named(shared_caller: Caller, name: str, first: str, last: str) -> None:
    def count(*filters: dict[str, Any]) -> int:
        answer = shared_caller.query(USER, INVOICE, ["key"], filters=list(filters), size=1)
        total: int = answer["ia::meta"]["totalCount"]
        return total

    span = [{"$gte": {"invoiceDate": first}}, {"$lte": {"invoiceDate": last}}]
    assert count({"$eq": {"invoiceDate": name}}) == count(*span)
    assert count({"$lt": {"invoiceDate": name}}) == count({"$lt": {"invoiceDate": first}})
    assert count({"$gt": {"invoiceDate": name}}) == count({"$gt": {"invoiceDate": last}})


# --- what is rejected --------------------------------------------------------------------------


_REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"fields": ["action", "createAPBill"]},
        f"The action field in {INVOICE} object cannot be used in query in version 1",
    ),
    ({"fields": ["lines"]}, "The lines field in"),
    ({"fields": ["totalDueTxnAmount"]}, "The totalDueTxnAmount field does not exist"),
    ({"object": LINE, "fields": ["department.id"]}, "The department.id field does not exist"),
    ({"fields": ["customer"]}, "The customer field does not exist"),
    ({"fields": []}, "fields to query are required"),
    ({"fields": None}, "fields to query are required"),
    ({"object": None}, "object to query is required"),
    ({"object": "accounts-receivable/nothing"}, "accounts-receivable/nothing does not exist"),
    ({"includePrivate": True}, "Unrecognized key includePrivate in query payload"),
    ({"size": 4001}, "size must be from 1 to 4000"),
    ({"size": 0}, "size must be from 1 to 4000"),
    ({"start": 0}, "start must be 1 or more"),
    ({"size": True}, "size must be a whole number"),
    ({"filters": [{"$ge": {"key": "1"}}]}, "$ge is not a valid operator"),
    ({"filters": [{"$eq": {"href": "x"}}]}, "href cannot be filtered"),
    ({"filters": [{"$eq": {"invoiceDate": "10/13/2026"}}]}, "not a valid date"),
    ({"filters": [{"$eq": {"invoiceDate": "2026-W41-2"}}]}, "not a valid date"),
    ({"filters": [{"$gt": {"totalTxnAmount": "much"}}]}, "not a valid decimal"),
    ({"filters": [{"$contains": {"invoiceDate": "2026"}}]}, "$contains cannot be used on"),
    ({"filters": [{"$contains": {"description": True}}]}, "not a valid string"),
    ({"filters": [{"$between": {"key": ["1"]}}]}, "a lower and an upper value"),
    ({"filters": [{"$gt": {"description": None}}]}, "cannot be used with null"),
    ({"filters": [{"$eq": {"key": "1", "id": "1"}}]}, "A filter is"),
    ({"orderBy": [{"key": "up"}]}, "sorted 'asc' or 'desc'"),
    ({"filterExpression": "1"}, "there is no filter 1"),
    ({"filters": [{"$eq": {"key": "1"}}], "filterExpression": "1 and 2"}, "there is no filter 2"),
    ({"filters": [{"$eq": {"key": "1"}}], "filterExpression": "(1"}, "is not closed"),
    ({"filters": [{"$eq": {"key": "1"}}], "filterExpression": "1 xor 1"}, "unexpected 'xor'"),
    ({"filters": [{"$eq": {"key": "1"}}], "filterExpression": "1 and"}, "the expression ends"),
    ({"filterParameters": {"asOfDate": "then"}}, "asOfDate must be a date"),
    ({"filterParameters": {"asOf": "then"}}, "Unrecognized key filterParameters.asOf"),
]


@pytest.mark.parametrize(("changed", "text"), _REFUSED, ids=[text for _, text in _REFUSED])
def test_a_query_that_makes_no_sense_is_rejected_with_the_reason(
    shared_caller: Caller, changed: dict[str, Any], text: str
) -> None:
    response = _ask(shared_caller, **{"object": INVOICE, "fields": ["key"], **changed})
    assert response.status_code == 400
    assert text in messages(response)


def test_what_waits_for_the_callers_approval_is_nothing(shared_caller: Caller) -> None:
    for object_ in ("accounts-payable/bill", "accounts-payable/vendor"):
        mine = {"approvalsForUser": {"submitState": "submitted"}}
        response = _ask(shared_caller, object=object_, fields=["key"], filterParameters=mine)
        assert response.json()["ia::meta"]["totalCount"] == 0
        for wrong in ("x", {"nothing": 1}):
            asked = {"approvalsForUser": wrong}
            response = _ask(shared_caller, object=object_, fields=["key"], filterParameters=asked)
            assert response.status_code == 400
    response = _ask(shared_caller, object=INVOICE, fields=["key"], filterParameters=mine)
    assert "Unrecognized key filterParameters.approvalsForUser" in messages(response)


# --- against a naive model --------------------------------------------------------------------

_FIELDS: dict[str, Callable[[Any], Any]] = {
    "key": int,
    "invoiceNumber": str,
    "invoiceDate": str,
    "totalTxnAmount": Decimal,
    "referenceNumber": str,
    "state": str,
    "dueInDays": int,
    "isSystemGeneratedDocument": bool,
    "customer.name": str,
    "customer.key": int,
    "audit.modifiedDateTime": str,
}
_ORDERED = ["key", "invoiceNumber", "invoiceDate", "totalTxnAmount", "dueInDays", "customer.name"]
_TEXTS = ["invoiceNumber", "referenceNumber", "customer.name", "state"]


@pytest.fixture(scope="module")
def everything(shared_caller: Caller) -> list[dict[str, Any]]:
    """All invoices that the user sees, read without filter or order."""
    rows = shared_caller.query(USER, INVOICE, list(_FIELDS), size=4000)["ia::result"]
    assert len(rows) > 2000
    return list(rows)


_POSITIVE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, wanted: value == wanted,
    "lt": lambda value, wanted: value < wanted,
    "lte": lambda value, wanted: value <= wanted,
    "gt": lambda value, wanted: value > wanted,
    "gte": lambda value, wanted: value >= wanted,
    "in": lambda value, wanted: value in wanted,
    "between": lambda value, wanted: wanted[0] <= value <= wanted[1],
    "contains": lambda value, wanted: wanted in value,
    "startsWith": lambda value, wanted: value[: len(wanted)] == wanted,
    "endsWith": lambda value, wanted: value[len(value) - len(wanted) :] == wanted,
    "has": lambda value, wanted: all(one in value for one in wanted),
}
_NEGATIVE = {
    f"not{name[0].upper()}{name[1:]}": name
    for name in ("in", "between", "contains", "startsWith", "endsWith")
} | {"ne": "eq"}
_OPERATORS = [*_POSITIVE, *_NEGATIVE]


def _naive(operator: str, value: Any, wanted: Any, read: Callable[[Any], Any]) -> bool:
    """What one filter says about one value; nothing is said of an empty value but by null."""
    if wanted is None:
        return (value is None) == (operator == "$eq")
    if value is None:
        return False
    wanted = [read(one) for one in wanted] if isinstance(wanted, list) else read(wanted)
    name = operator.removeprefix("$")
    found = _POSITIVE[_NEGATIVE.get(name, name)](read(value), wanted)
    return found != (name in _NEGATIVE)


@st.composite
def _filters(draw: st.DrawFn, rows: list[dict[str, Any]]) -> dict[str, Any]:
    def of(path: str) -> Any:
        return draw(st.sampled_from(rows))[path]

    def some(path: str) -> Any:
        value = of(path)
        return -7 if value is None else value  # only days are empty among what is ordered

    operator = "$" + draw(st.sampled_from(_OPERATORS))
    if operator in ("$eq", "$ne"):
        path = draw(st.sampled_from(list(_FIELDS)))
        return {operator: {path: of(path)}}
    if operator in ("$lt", "$lte", "$gt", "$gte"):
        path = draw(st.sampled_from([*_ORDERED, "audit.modifiedDateTime"]))
        return {operator: {path: some(path)}}
    if operator in ("$between", "$notBetween"):
        path = draw(st.sampled_from(_ORDERED))
        return {operator: {path: sorted((some(path), some(path)), key=_FIELDS[path])}}
    if operator in ("$in", "$notIn"):
        path = draw(st.sampled_from(["key", "state", "customer.name", "invoiceDate"]))
        return {operator: {path: [of(path) for _ in range(draw(st.integers(0, 4)))]}}
    path = draw(st.sampled_from(_TEXTS))
    text = of(path) or "BR-1"
    begin = draw(st.integers(0, len(text) - 1))
    piece = text[begin : begin + draw(st.integers(1, 4))]
    return {operator: {path: [piece] if operator == "$has" else piece}}


_Expression = tuple[str, Callable[[list[bool]], bool]]


def _expressions(count: int) -> st.SearchStrategy[_Expression]:
    def leaf(number: int) -> _Expression:
        return str(number + 1), lambda truths: truths[number]

    def joined(parts: tuple[list[_Expression], str]) -> _Expression:
        terms, word = parts
        text = "(" + f" {word} ".join(term for term, _ in terms) + ")"
        joint = all if word == "and" else any
        return text, lambda truths: joint(hold(truths) for _, hold in terms)

    leaves = st.integers(0, count - 1).map(leaf)
    return st.recursive(
        leaves,
        lambda inner: st.tuples(
            st.lists(inner, min_size=2, max_size=3), st.sampled_from(["and", "or"])
        ).map(joined),
        max_leaves=5,
    )


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_filters_expressions_orders_and_pages_answer_as_a_naive_reader_would(
    shared_caller: Caller, everything: list[dict[str, Any]], data: st.DataObject
) -> None:
    filters = data.draw(st.lists(_filters(everything), min_size=1, max_size=4))
    expression = data.draw(st.none() | _expressions(len(filters)))
    order = st.tuples(st.sampled_from(_ORDERED), st.booleans())
    orders = data.draw(st.lists(order, max_size=2, unique_by=lambda one: one[0]))
    start, size = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 4000))

    def holds(row: dict[str, Any]) -> bool:
        truths = []
        for one in filters:
            ((operator, operand),) = one.items()
            ((path, wanted),) = operand.items()
            truths.append(_naive(operator, row[path], wanted, _FIELDS[path]))
        return all(truths) if expression is None else expression[1](truths)

    expected = [row for row in everything if holds(row)]
    order_by = [{path: "desc" if down else "asc"} for path, down in orders] + [{"key": "asc"}]
    expected.sort(key=lambda row: int(row["key"]))
    for path, down in reversed(orders):
        # What is empty comes last, and first when the order is turned round.
        expected.sort(
            key=lambda row, path=path: (  # type: ignore[misc]
                row[path] is None,
                0 if row[path] is None else _FIELDS[path](row[path]),
            ),
            reverse=down,
        )
    rest = {} if expression is None else {"filterExpression": expression[0]}
    answer = shared_caller.query(
        USER, INVOICE, ["key"], filters=filters, orderBy=order_by, start=start, size=size, **rest
    )
    assert answer["ia::meta"]["totalCount"] == len(expected)
    assert [row["key"] for row in answer["ia::result"]] == [
        row["key"] for row in expected[start - 1 : start - 1 + size]
    ]


_AGGREGATED = ["totalTxnAmount", "dueInDays", "invoiceDate", "referenceNumber", "key"]
_GROUPED_BY = ["state", "invoiceDate", "customer.name"]


def _naive_aggregate(function: str, path: str, rows: list[dict[str, Any]]) -> Any:
    values = [row[path] for row in rows if row[path] is not None]
    if function == "count":
        return len(values)
    if not values:
        return None
    if function in ("min", "max"):
        return (min if function == "min" else max)(values, key=_FIELDS[path])
    total = sum((Decimal(str(value)) for value in values), Decimal(0))
    wanted = total if function == "sum" else total / len(values)
    return f"{wanted.quantize(Decimal('0.01'), 'ROUND_HALF_UP')}"


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_aggregates_answer_as_a_naive_reader_would(
    shared_caller: Caller, everything: list[dict[str, Any]], data: st.DataObject
) -> None:
    by = data.draw(st.lists(st.sampled_from(_GROUPED_BY), max_size=2, unique=True))
    path = data.draw(st.sampled_from(_AGGREGATED))
    functions = ["count", "min", "max"]
    if path in ("totalTxnAmount", "dueInDays"):
        functions += ["sum", "avg"]
    function = data.draw(st.sampled_from(functions))
    one = data.draw(_filters(everything))
    ((operator, operand),) = one.items()
    ((filtered, wanted),) = operand.items()
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {} if by else {(): []}
    for row in everything:
        if _naive(operator, row[filtered], wanted, _FIELDS[filtered]):
            groups.setdefault(tuple(row[name] for name in by), []).append(row)
    name = f"{function}:{path}"
    answer = shared_caller.query(USER, INVOICE, [*by, name], filters=[one], size=4000)
    assert answer["ia::meta"]["totalCount"] == len(groups)
    got = {tuple(row[one] for one in by): row[name] for row in answer["ia::result"]}
    if len(groups) <= 4000:
        assert got == {key: _naive_aggregate(function, path, rows) for key, rows in groups.items()}


def test_groups_are_ordered_and_paged(shared_caller: Caller) -> None:
    fields, total = ["customer.id", "sum:totalTxnAmount"], "sum:totalTxnAmount"
    order = [{total: "desc"}]
    first = shared_caller.query(USER, INVOICE, fields, orderBy=order, size=5)
    second = shared_caller.query(USER, INVOICE, fields, orderBy=order, size=5, start=6)
    sums = [Decimal(row[total]) for row in first["ia::result"] + second["ia::result"]]
    assert len(sums) == 10
    assert sums == sorted(sums, reverse=True)
    assert first["ia::meta"]["next"] == 6


@pytest.mark.parametrize(
    ("fields", "rest", "text"),
    [
        (["sum:invoiceNumber"], {}, "sum cannot be used on invoiceNumber"),
        (["sum:nothing"], {}, "The nothing field does not exist"),
        (["total:key"], {}, "The total:key field does not exist"),
        (["count:key"], {"orderBy": [{"key": "asc"}]}, "not among the grouped fields"),
    ],
)
def test_an_aggregate_that_makes_no_sense_is_rejected(
    shared_caller: Caller, fields: list[str], rest: dict[str, Any], text: str
) -> None:
    response = _ask(shared_caller, object=INVOICE, fields=fields, **rest)
    assert response.status_code == 400
    assert text in messages(response)


def test_and_binds_tighter_than_or(shared_caller: Caller) -> None:
    filters = [{"$eq": {"state": "paid"}}, {"$eq": {"state": "posted"}}, {"$lt": {"key": "0"}}]

    def count(expression: str) -> int:
        answer = shared_caller.query(
            USER, INVOICE, ["key"], filters=filters, filterExpression=expression, size=1
        )
        total: int = answer["ia::meta"]["totalCount"]
        return total

    assert count("1 or 2 and 3") == count("1") > 0
    assert count("(1 or 2) and 3") == 0
    assert count("or") == count("1 or 2")
    assert count("and") == 0


def test_case_counts_unless_asked_otherwise(shared_caller: Caller) -> None:
    name = shared_caller.query(USER, CUSTOMER, ["name"], size=1)["ia::result"][0]["name"]
    filters = [{"$eq": {"name": name.upper()}}]

    def count(**rest: Any) -> int:
        answer = shared_caller.query(USER, CUSTOMER, ["key"], filters=filters, size=1, **rest)
        total: int = answer["ia::meta"]["totalCount"]
        return total

    assert count() == 0
    assert count(filterParameters={"caseSensitiveComparison": False}) == 1


def test_times_compare_below_the_second_though_they_are_stored_without(
    shared_caller: Caller,
) -> None:
    moment = shared_caller.query(USER, INVOICE, ["audit.modifiedDateTime"], size=1)["ia::result"][
        0
    ]["audit.modifiedDateTime"]
    half_later = moment.replace("Z", ".500Z")

    def count(operator: str, value: str) -> int:
        answer = shared_caller.query(
            USER, INVOICE, ["key"], filters=[{operator: {"audit.modifiedDateTime": value}}], size=1
        )
        total: int = answer["ia::meta"]["totalCount"]
        return total

    assert count("$eq", half_later) == 0
    assert count("$gte", half_later) == count("$gt", moment)
    assert count("$lt", half_later) == count("$lte", moment)
    assert count("$eq", moment.replace("Z", "+00:00")) == count("$eq", moment) > 0


def test_a_number_with_a_fraction_is_found_by_itself() -> None:
    how = Comparison(as_of=date(2026, 10, 13))
    shown = comparable("number", fold="")(1.0825)
    assert read_filter("$eq", "number", 1.0825, "currency.exchangeRate", how)(shown)
    assert read_filter("$lte", "number", "1.0825", "currency.exchangeRate", how)(shown)
