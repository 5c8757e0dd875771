"""What a person sees of a plan in Dagster: counts, totals, sample documents, check results."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import dagster as dg
import msgspec

from intacct_dagster.defs.checks.results import CheckResult, severity
from intacct_dagster.defs.tables import SHOWN_ROWS, table_of
from intacct_dagster.posting.validation import Held, ValidationRule
from intacct_dagster.warehouse.reconciliation import SHOWN_HASH, Document, PlannedDocument

_HELD = {
    "source_id": "string",
    "reason": "string",
    "what_to_do": "string",
    "field": "string",
    "amount": "string",
    "file": "string",
    "line": "int",
}
_CREATED = {
    "source_id": "string",
    "entity": "string",
    "day": "string",
    "amount": "string",
    "file": "string",
    "line": "int",
}
_CHANGE = {"source_id": "string", "intacct_key": "string", "change": "string"}
_TOTALS = {"entity": "string", "account": "string", "lines": "int", "amount": "string"}

#: Reasons that the text of a check names; the table has all of them.
_NAMED_REASONS = 3


@dataclass(frozen=True)
class ValidatedDocument:
    """A document after validation.

    Attributes:
        not_judged: The rules that Intacct gave no data for, with the reason.
    """

    source: Document
    planned: PlannedDocument
    held: Sequence[Held]
    not_judged: Mapping[ValidationRule, str]


@dataclass
class HeldByRule:
    """What one rule holds: the number of documents, the reasons, and some of the documents."""

    documents: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    rows: list[Mapping[str, object]] = field(default_factory=list)


class PlanSummary:
    """Sums over the documents of a plan, and samples of each kind.

    Documents are added one after the other and are not kept, so that memory does not grow with
    the plan.
    """

    def __init__(self) -> None:
        self.documents = self.held = self.create = self.change = 0
        self.amount = Decimal()
        self.totals: dict[tuple[str, str], tuple[int, Decimal]] = {}
        self.created: list[Mapping[str, object]] = []
        self.changed: list[Mapping[str, object]] = []
        self.by_rule = {rule: HeldByRule() for rule in ValidationRule}
        self.not_judged: dict[str, Mapping[ValidationRule, str]] = {}

    def add(self, document: ValidatedDocument) -> None:
        """Count one more document, and keep it as a sample while there is room."""
        planned = document.planned
        self.documents += 1
        self.not_judged[planned.entity] = document.not_judged
        if planned.held:
            self.held += 1
        elif planned.action == "change":
            self._add_change(planned)
        else:
            self._add_creation(document.source, planned)
        for rule in {one.rule for one in document.held}:
            self.by_rule[rule].documents += 1
        for one in document.held:
            by_rule = self.by_rule[one.rule]
            by_rule.reasons[one.reason] += 1
            row = {
                **_source_of(document.source),
                "reason": one.reason,
                "what_to_do": one.what_to_do,
                "field": one.field,
            }
            _keep(by_rule.rows, row)

    def _add_change(self, planned: PlannedDocument) -> None:
        self.change += 1
        row = {
            "source_id": planned.source_id,
            "intacct_key": planned.changes_key,
            "change": (planned.change or b"").decode(),
        }
        _keep(self.changed, row)

    def _add_creation(self, source: Document, planned: PlannedDocument) -> None:
        self.create += 1
        self.amount += planned.amount
        for account, amount in _account_lines(msgspec.json.decode(source.payload)):
            lines, total = self.totals.get((planned.entity, account), (0, Decimal()))
            self.totals[planned.entity, account] = (lines + 1, total + amount)
        _keep(self.created, {**_source_of(source), "entity": source.entity, "day": source.day})

    def describe(self, plan: str) -> str:
        """Return one line for the log; `plan` is the hash of the plan."""
        to_change = f"{self.change:,} to change, " if self.change else ""
        name = plan[:SHOWN_HASH] or "nothing to create"
        return f"plan {name}: {self.create:,} to create, {to_change}{self.held:,} held"

    def metadata(self, plan: str) -> dict[str, dg.MetadataValue]:
        """Return what a person approves: documents, and totals by entity and account."""
        changes = {
            "to_change": dg.MetadataValue.int(self.change),
            "documents_to_change": table_of(self.changed, _CHANGE),
        }
        totals = (
            {"entity": entity, "account": account, "lines": lines, "amount": f"{total:,.2f}"}
            for (entity, account), (lines, total) in sorted(self.totals.items())
        )
        return {
            "dagster/partition_row_count": dg.MetadataValue.int(self.documents),
            "plan": dg.MetadataValue.text(plan[:SHOWN_HASH] or "nothing to create"),
            "to_create": dg.MetadataValue.int(self.create),
            **(changes if self.change else {}),
            "held": dg.MetadataValue.int(self.held),
            "amount_to_create": dg.MetadataValue.text(f"{self.amount:,.2f}"),
            "totals": table_of(totals, _TOTALS),
            "documents_to_create": table_of(self.created, _CREATED),
        }

    def check(self, rule: ValidationRule) -> CheckResult:
        """Return the result of the check of one validation rule."""
        held = self.by_rule[rule]
        not_judged = sorted({why[rule] for why in self.not_judged.values() if rule in why})
        return CheckResult(
            not held.documents and not not_judged,
            severity(held.documents, self.documents),
            self._check_text(held, not_judged),
            {
                "documents": dg.MetadataValue.int(self.documents),
                "held": dg.MetadataValue.int(held.documents),
                **({"documents_held": table_of(held.rows, _HELD)} if held.documents else {}),
            },
        )

    def _check_text(self, rule: HeldByRule, not_judged: Sequence[str]) -> str:
        count = f"{self.documents:,} document{'' if self.documents == 1 else 's'}"
        text = (
            f"{rule.documents:,} of {count} held: {_by_reason(rule.reasons)}. Correct them and "
            "plan again."
            if rule.documents
            else f"{count} passed."
        )
        if not not_judged:
            return text
        return f"Not judged: {'; '.join(not_judged)}. {text if rule.documents else ''}".strip()


def _keep(rows: list[Mapping[str, object]], row: Mapping[str, object]) -> None:
    if len(rows) < SHOWN_ROWS:
        rows.append(row)


def _account_lines(document: Mapping[str, Any]) -> Iterator[tuple[str, Decimal]]:
    """Yield (account, amount) of each line of a payload that names an account.

    A credit is negative.
    """
    for value in document.values():
        for line in value if isinstance(value, list) else ():
            account = line.get("glAccount") if isinstance(line, Mapping) else None
            amount = line.get("txnAmount") if account else None
            if isinstance(account, Mapping) and isinstance(amount, str | int):
                sign = -1 if line.get("txnType") == "credit" else 1
                yield str(account.get("id") or account.get("key")), sign * Decimal(str(amount))


def _source_of(document: Document) -> dict[str, object]:
    return {
        "source_id": document.source_id,
        "amount": f"{document.amount:.2f}",
        "file": document.file and document.file.rpartition("/")[2],
        "line": document.line,
    }


def _by_reason(reasons: Counter[str]) -> str:
    ranked = reasons.most_common()
    named = "; ".join(f"{reason} ({count})" for reason, count in ranked[:_NAMED_REASONS])
    others = len(ranked) - _NAMED_REASONS
    return f"{named}; and {others} other reasons" if others > 0 else named
