"""The parity table says what is there: every route, every error, every object, tests that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.routing import Route

import intacct_sandbox as sandbox
from intacct_dagster_tests.sandbox.caller import PROJECT
from intacct_sandbox import Books, create_app
from intacct_sandbox.objects.catalogue import load_catalogue
from intacct_sandbox.tools.comparison import ReplayDifference
from intacct_sandbox.tools.parity import EVIDENCE, load_parity, meant, named_tests
from intacct_sandbox.tools.parity_page import render

PAGE = PROJECT / "docs" / "sandbox-parity.md"
TESTS = PROJECT / "intacct_dagster_tests"


def _rows() -> Iterator[dict[str, Any]]:
    parity = load_parity()
    for section in parity["sections"]:
        yield from section["rows"]
    yield from parity["limits"]
    yield from parity["errors"].values()


def test_the_page_is_what_the_rows_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: make parity"


def test_every_row_has_evidence_and_names_tests_that_exist() -> None:
    tests: dict[str, set[str]] = {}
    for file in TESTS.rglob("test_*.py"):
        found = re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        tests[".".join(file.relative_to(TESTS).with_suffix("").parts)] = set(found)
    for row in _rows():
        assert row["evidence"] in EVIDENCE, row
        for named in named_tests(row):
            file_, _, test = named.rpartition(".")
            assert test in tests.get(file_, ()), named


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    served = set()
    for route in create_app(Books()).routes:
        assert isinstance(route, Route)
        path = route.path.removeprefix("/ia/api/v1")
        # HEAD comes with GET by itself; OPTIONS is listed once.
        served |= {f"{one} {path}" for one in route.methods or () if one not in ("HEAD", "OPTIONS")}
    got = {row["route"] for row in _rows() if "route" in row}
    # These are rejected: a key is missing, or one too many.
    rejected = {
        "DELETE /objects/{application}/{object}",
        "POST /objects/{application}/{object}/{keys}",
    }
    options = {"OPTIONS /objects/{application}/{object}"}
    assert got - options == served - rejected


def test_every_error_has_a_row_and_every_row_an_error() -> None:
    code = Path(sandbox.__file__).parent
    answered: set[str] = set()
    for file in code.rglob("*.py"):
        if file.stem != "recordings":  # it names errors that others answered with
            answered |= set(re.findall(r'"((?:REST|GW|GL|SBX)-\d{4})"', file.read_text()))
    assert set(load_parity()["errors"]) == answered


def test_every_object_that_is_said_to_be_known_is_there() -> None:
    catalogue = load_catalogue()
    known = [name for names in load_parity()["objects"].values() for name in names]
    assert [name for name in known if name not in catalogue] == []
    assert len(known) == len(set(known))


def test_a_difference_is_meant_only_where_a_row_says_so() -> None:
    href = ReplayDifference("model.refs.term.fields.href", "not there", "there")
    assert meant("model accounts-payable/bill", href)
    assert meant("model accounts-receivable/invoice", href) is None
    assert meant("model accounts-payable/bill", ReplayDifference("status", "200", "400")) is None
