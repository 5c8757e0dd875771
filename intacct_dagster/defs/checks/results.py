"""Check results, and the checks of a posting: whether each document has a final status."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import PurePath

import dagster as dg

from intacct_dagster.defs.tables import table_of
from intacct_dagster.posting.agreement import FieldDifference
from intacct_dagster.state.ledger import ItemState, LastAmendment
from intacct_dagster.warehouse.reconciliation import Outcome, Outcomes

ACCOUNTED_FOR = "every_item_accounted_for"
NONE_REJECTED = "no_item_rejected"
NOTHING_UNCERTAIN = "nothing_uncertain"
READ_BACK_AGREES = "read_back_agrees"
CONTROL_TOTAL = "control_total"
CHANGES_MADE = "changes_made"

#: Rejections up to this share of the documents are single mistakes for a person to correct. Above
#: it the cause is probably common to all of them.
TOLERATED_SHARE = Decimal("0.10")

_KNOWN = (ItemState.POSTED, ItemState.REJECTED, ItemState.UNCERTAIN)
_WHERE = {"source_id": "string", "amount": "string", "file": "string", "line": "int"}
_DIFFERENCES = dict.fromkeys(("source_id", "intacct_key", "field", "sent", "found"), "string")
_NOT_CHANGED = dict.fromkeys(("source_id", "state", "reason", "what_to_do"), "string")
_REJECTED = {
    "source_id": "string",
    "reason": "string",
    "what_to_do": "string",
    "field": "string",
    "amount": "string",
    "file": "string",
    "line": "int",
    "position": "int",
    "error_id": "string",
    "support_id": "string",
}


@dataclass(frozen=True)
class CheckResult:
    """The result of one check of one partition, or of several partitions together."""

    passed: bool
    severity: dg.AssetCheckSeverity
    description: str
    metadata: Mapping[str, dg.MetadataValue]


def nothing_judged(why: str) -> CheckResult:
    """Return the result of a check that had nothing to judge: it does not pass, and warns."""
    return CheckResult(
        False,
        dg.AssetCheckSeverity.WARN,
        f"Nothing was judged. {why}",
        {"judged": dg.MetadataValue.int(0)},
    )


def evaluation(
    key: dg.AssetKey, check: str, found: CheckResult, partition: str
) -> dg.AssetCheckEvaluation:
    """Return the evaluation of a check for one partition."""
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=check,
        partition=partition,
        passed=found.passed,
        severity=found.severity,
        description=found.description,
        metadata=found.metadata,
    )


def result(key: dg.AssetKey, check: str, found: CheckResult) -> dg.AssetCheckResult:
    """Return the result of a check as a step yields it: it covers all partitions of the run."""
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=check,
        passed=found.passed,
        severity=found.severity,
        description=found.description,
        metadata=found.metadata,
    )


def result_by_partition(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    check: str,
    together: CheckResult,
    by_partition: Mapping[dg.MultiPartitionKey, CheckResult],
) -> dg.AssetCheckResult:
    """Log an evaluation for each partition of a ranged run, and return the result to yield.

    Dagster stores the result of a ranged run without a partition, so that the UI would show each
    partition as skipped.
    """
    if not context.has_partition_key:
        for partition, found in by_partition.items():
            context.log_event(evaluation(key, check, found, partition))
    return result(key, check, together)


Judge = Callable[[Outcomes, Sequence[FieldDifference]], CheckResult]


@dataclass(frozen=True)
class PostingCheck:
    """A check of a posting: its name, its description, and the function that evaluates it."""

    name: str
    description: str
    judge: Judge


def _accounted_for(outcomes: Outcomes, differences: Sequence[FieldDifference]) -> CheckResult:
    unsent = outcomes.documents - sum(map(outcomes.count, _KNOWN))
    aside = sum(count for count, _ in outcomes.aside.values())
    lost = unsent - aside
    text = (
        f"{_documents(lost)} were to be posted and were not sent. Plan and run the partition "
        "again; if they came into Intacct meanwhile, extract first."
        if lost
        else f"{_documents(outcomes.documents)} {_have(outcomes.documents)} a known status."
        if outcomes.documents
        else "No document was to be posted."
    )
    held_back = (f"{count:,} {why}." for why, (count, _) in sorted(outcomes.aside.items()))
    return CheckResult(
        not lost,
        dg.AssetCheckSeverity.ERROR,
        " ".join([text, *held_back]),
        {
            "documents": dg.MetadataValue.int(outcomes.documents),
            "not_sent": dg.MetadataValue.int(lost),
            "not_to_be_sent": dg.MetadataValue.int(aside),
            **(
                {
                    "documents_not_sent": table_of(
                        (_place(each) for each in outcomes.shown if each.state not in _KNOWN),
                        _WHERE,
                    )
                }
                if lost
                else {}
            ),
        },
    )


def _none_rejected(outcomes: Outcomes, differences: Sequence[FieldDifference]) -> CheckResult:
    rejected = outcomes.count(ItemState.REJECTED)
    rows = (_rejection(each) for each in outcomes.shown if each.state == ItemState.REJECTED)
    return CheckResult(
        not rejected,
        severity(rejected, outcomes.documents),
        f"Intacct rejected {_documents(rejected)} of {outcomes.documents:,}: "
        f"{_by_reason(outcomes.rejections)}."
        if rejected
        else f"Intacct accepted {_documents(outcomes.documents)}."
        if outcomes.documents
        else "No document was to be posted.",
        {
            "documents": dg.MetadataValue.int(outcomes.documents),
            "rejected": dg.MetadataValue.int(rejected),
            **({"rejections": table_of(rows, _REJECTED)} if rejected else {}),
        },
    )


def _nothing_uncertain(outcomes: Outcomes, differences: Sequence[FieldDifference]) -> CheckResult:
    unsure = outcomes.count(ItemState.UNCERTAIN)
    rows = (_place(each) for each in outcomes.shown if each.state == ItemState.UNCERTAIN)
    return CheckResult(
        not unsure,
        dg.AssetCheckSeverity.ERROR,
        f"{_documents(unsure)} were sent, and nobody knows whether Intacct created them. Do not "
        "enter them by hand: run this partition again, which asks Intacct."
        if unsure
        else "Every document that was sent has an answer."
        if outcomes.documents
        else "No document was to be posted.",
        {
            "uncertain": dg.MetadataValue.int(unsure),
            **({"documents_uncertain": table_of(rows, _WHERE)} if unsure else {}),
        },
    )


def _read_back_agrees(outcomes: Outcomes, differences: Sequence[FieldDifference]) -> CheckResult:
    posted, unread = outcomes.count(ItemState.POSTED), outcomes.not_read_back
    if differences:
        text = (
            f"{len({each.source_id for each in differences}):,} of {_documents(posted)} are "
            "otherwise in Intacct than they were sent: compare them there, and correct one side."
        )
    elif unread:
        text = f"{_documents(unread)} could not be read back yet: run this partition again."
    elif not posted:
        text = "No document was posted, so none was read back."
    else:
        text = f"Intacct holds {_documents(posted)} as they were sent."
    return CheckResult(
        not unread,
        dg.AssetCheckSeverity.ERROR,
        text,
        {
            "posted": dg.MetadataValue.int(posted),
            "not_read_back": dg.MetadataValue.int(unread),
            **(
                {"differences": table_of(map(asdict, differences), _DIFFERENCES)}
                if differences
                else {}
            ),
        },
    )


def _control_total(outcomes: Outcomes, differences: Sequence[FieldDifference]) -> CheckResult:
    by_state = {state: outcomes.states.get(state, (0, Decimal()))[1] for state in _KNOWN}
    aside = sum((amount for _, amount in outcomes.aside.values()), Decimal())
    difference = outcomes.amount - sum(by_state.values(), Decimal()) - aside
    return CheckResult(
        difference == 0,
        dg.AssetCheckSeverity.ERROR,
        f"To post {outcomes.amount:,.2f} = posted {by_state[ItemState.POSTED]:,.2f} "
        f"+ rejected {by_state[ItemState.REJECTED]:,.2f} "
        f"+ uncertain {by_state[ItemState.UNCERTAIN]:,.2f}"
        + (f" + not to be sent {aside:,.2f}" if aside else "")
        + (f", which leaves {difference:,.2f} without a status." if difference else "."),
        {
            "to_post": dg.MetadataValue.text(f"{outcomes.amount:.2f}"),
            **{
                state.value: dg.MetadataValue.text(f"{amount:.2f}")
                for state, amount in by_state.items()
            },
            "not_to_be_sent": dg.MetadataValue.text(f"{aside:.2f}"),
        },
    )


def changes_made(changes: Mapping[str, LastAmendment]) -> CheckResult:
    """Return whether Intacct accepted every change (by source id) of posted documents."""
    open_ = {name: each for name, each in changes.items() if each.state is not ItemState.POSTED}
    rows = (
        {
            "source_id": name,
            "state": each.state.value,
            "reason": each.reason,
            "what_to_do": each.what_to_do,
        }
        for name, each in sorted(open_.items())
    )
    return CheckResult(
        not open_,
        dg.AssetCheckSeverity.ERROR
        if any(each.state is not ItemState.REJECTED for each in open_.values())
        else dg.AssetCheckSeverity.WARN,
        f"{_documents(len(open_))} of {len(changes):,} are not changed in Intacct."
        if open_
        else f"Intacct accepted the changes of {_documents(len(changes))}.",
        {
            "changed": dg.MetadataValue.int(len(changes) - len(open_)),
            "not_changed": dg.MetadataValue.int(len(open_)),
            **({"documents_not_changed": table_of(rows, _NOT_CHANGED)} if open_ else {}),
        },
    )


def severity(rejected: int, documents: int) -> dg.AssetCheckSeverity:
    """Return ERROR if more than TOLERATED_SHARE of the documents were rejected or held."""
    if documents and Decimal(rejected) / documents > TOLERATED_SHARE:
        return dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckSeverity.WARN


def _by_reason(rejections: Mapping[str, int]) -> str:
    ranked = sorted(rejections.items(), key=lambda each: (-each[1], each[0]))
    named = "; ".join(f"{reason.rstrip('.')} ({count})" for reason, count in ranked[:3])
    return f"{named}; and {len(ranked) - 3} other reasons" if len(ranked) > 3 else named


def _documents(number: int) -> str:
    return f"{number:,} document{'' if number == 1 else 's'}"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def _place(outcome: Outcome) -> dict[str, object]:
    return {
        "source_id": outcome.source_id,
        "amount": f"{outcome.amount:.2f}",
        # the folder is the feed's; DuckDB has the whole path
        "file": outcome.file and PurePath(outcome.file).name,
        "line": outcome.line,
    }


def _rejection(outcome: Outcome) -> dict[str, object]:
    return {
        **_place(outcome),
        "position": outcome.position,
        "reason": outcome.reason,
        "field": outcome.field,
        "what_to_do": outcome.what_to_do,
        "error_id": outcome.error_id,
        "support_id": outcome.support_id,
    }


#: The checks of a posting, in the order in which the UI shows them.
POSTING_CHECKS = (
    PostingCheck(
        ACCOUNTED_FOR,
        "Every document that was to be posted has a known status.",
        _accounted_for,
    ),
    PostingCheck(
        NONE_REJECTED,
        "Intacct accepted every document. A warning while at most one in ten is rejected, an error "
        "above that.",
        _none_rejected,
    ),
    PostingCheck(
        NOTHING_UNCERTAIN,
        "No document was sent without an answer that can be trusted.",
        _nothing_uncertain,
    ),
    PostingCheck(
        READ_BACK_AGREES,
        "Every posted document was read back, and Intacct holds each field as it was sent.",
        _read_back_agrees,
    ),
    PostingCheck(
        CONTROL_TOTAL,
        "The amounts to post equal the amounts posted, rejected, uncertain, and not to be sent, to "
        "the cent.",
        _control_total,
    ),
)
