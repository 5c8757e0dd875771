"""`intacct-dagster doctor`: run the checks in order, and print what they found.

Those that need another's success are left out where that one failed, and say so: one mistake gives
one error, not twenty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from intacct_dagster.cli.doctor import dagster, intacct, machine
from intacct_dagster.cli.doctor.examination import Check, Examination, Finding, Verdict, failure
from intacct_dagster.client import IntacctError
from intacct_dagster.config import ConfigError
from intacct_dagster.locks import LockError
from intacct_dagster.state import StateError
from intacct_dagster.warehouse import WarehouseError

#: What is looked at, in order. What a check needs stands before it.
CHECKS = (
    Check("configuration", machine.configuration),
    Check("state store", machine.state_store, ("configuration",)),
    Check("warehouse", machine.warehouse, ("configuration",)),
    Check("company", intacct.reached, ("configuration", "state store")),
    Check("session", intacct.sessions, ("company",)),
    Check("permission", intacct.permissions, ("session",)),
    Check("fields", intacct.fields, ("session", "warehouse")),
    Check("period", intacct.periods, ("session",)),
    Check("limits", intacct.limits, ("session",)),
    Check("allowance", intacct.allowance, ("configuration", "state store")),
    Check("dagster", dagster.dagster_instance, ("configuration",)),
    Check("time zone", machine.time_zone, ("configuration",)),
)

_MARKS = {
    Verdict.OK: "[green]ok[/]",
    Verdict.WARNING: "[yellow]warning[/]",
    Verdict.ERROR: "[red]error[/]",
    Verdict.SKIPPED: "[dim]not looked at[/]",
}


def run_doctor(entities: tuple[str, ...], *, as_json: bool, strict: bool) -> bool:
    """Prints all findings. Whether there is no error; with `strict`, no warning either."""
    examination = Examination(entities)
    try:
        findings = list(examine(examination))
    finally:
        examination.close()
    bad = {Verdict.ERROR, *([Verdict.WARNING] if strict else [])}
    good = not any(each.verdict in bad for each in findings)
    console = Console(soft_wrap=True, highlight=False)
    if as_json:
        report = {"well": good, "findings": [asdict(each) for each in findings]}
        console.print(msgspec.json.encode(report).decode(), markup=False)
        return good
    table = Table("check", "", "seen", "what to do", box=None, pad_edge=False)
    for each in findings:
        about = " ".join(part for part in (each.entity, each.object) if part)
        what = escape(f"{each.check} {about}".strip())
        table.add_row(what, _MARKS[each.verdict], escape(each.seen), escape(each.remedy))
    Console(highlight=False).print(table)
    counts = {verdict: sum(each.verdict is verdict for each in findings) for verdict in Verdict}
    console.print(", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number))
    return good


def examine(examination: Examination) -> Iterator[Finding]:
    """All findings, in the order of the checks. Raises nothing that a company can cause."""
    broken: dict[str, str] = {}  # by check, what is to be corrected first
    for check in CHECKS:
        missing = [name for name in check.needs if name in broken]
        if missing:
            broken[check.name] = broken[missing[0]]
            yield Finding(check.name, Verdict.SKIPPED, f"first correct: {broken[check.name]}")
            continue
        found = _found(check, examination)
        yield from found
        wrong = [each for each in found if each.verdict is Verdict.ERROR]
        if wrong and (check.name != "session" or not examination.working):
            broken[check.name] = check.name


def _found(check: Check, examination: Examination) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check.look(examination))
    except (ConfigError, IntacctError, LockError, StateError, WarehouseError) as error:
        found.append(failure(check.name, error))
    return found
