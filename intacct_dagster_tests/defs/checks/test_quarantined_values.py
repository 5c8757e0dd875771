"""The check on values that could not be converted says of which field, and what to do."""

from __future__ import annotations

import dagster as dg

from intacct_dagster.defs.checks.quarantined_values import check_converted
from intacct_dagster.warehouse.raw.quarantine import Quarantined


def test_without_such_values_it_passes() -> None:
    assert check_converted([]).passed


def test_it_warns_with_the_field_an_example_and_what_to_do() -> None:
    found = Quarantined(
        "accounts-payable/bill", "dueDate", "DATE", 1234, "17", "0000-00-00", "no such date"
    )
    verdict = check_converted([found, found])
    assert not verdict.passed
    assert verdict.severity is dg.AssetCheckSeverity.WARN
    assert verdict.metadata["values"].value == 2468
    for words in (
        "2,468 values",
        "dueDate",
        "'0000-00-00'",
        "no such date",
        "key 17",
        "types: {dueDate: text}",
    ):
        assert words in verdict.description
