"""What the checks of a posting say about the fates of its documents."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePath

import dagster as dg

from intacct_dagster.defs.tables import table_of
from intacct_dagster.read_back import Difference
from intacct_dagster.warehouse import Entry, ItemState

ACCOUNTED_FOR = "every_item_accounted_for"
NONE_REFUSED = "no_item_refused"
NOTHING_UNCERTAIN = "nothing_uncertain"
READ_BACK_AGREES = "read_back_agrees"
CONTROL_TOTAL = "control_total"

#: Refusals up to this share of the documents are single mistakes, for a person to mend; above it
#: something is wrong with all of them.
TOLERATED_SHARE = Decimal("0.10")

_KNOWN = (ItemState.POSTED, ItemState.REJECTED, ItemState.UNCERTAIN)
_WHERE = {"source_id": "string", "amount": "string", "file": "string", "line": "int"}
_DIFFERENCES = dict.fromkeys(("source_id", "intacct_key", "field", "sent", "found"), "string")
_REFUSED = {
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
class Fate:
    """A document that was to be posted, and its entry in the ledger (None if it has none).

    `file` and `line` are None where the source no longer has it. `differences` are fields that
    Intacct holds otherwise than they were sent. `aside` says why it was not to be sent at all: a
    gate holds it, or it waits for leave to post.
    """

    source_id: str
    amount: Decimal
    file: str | None
    line: int | None
    entry: Entry | None
    differences: tuple[Difference, ...] = ()
    aside: str | None = None

    @property
    def state(self) -> ItemState | None:
        """The ledger's state, or None."""
        return self.entry.state if self.entry else None


@dataclass(frozen=True)
class Verdict:
    """The result of one check, on one partition or on several together."""

    passed: bool
    severity: dg.AssetCheckSeverity
    description: str
    metadata: Mapping[str, dg.MetadataValue]


def evaluation(
    key: dg.AssetKey, check: str, verdict: Verdict, partition: str
) -> dg.AssetCheckEvaluation:
    """A verdict on one partition of a run that has several: its result has no partition."""
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=check,
        partition=partition,
        passed=verdict.passed,
        severity=verdict.severity,
        description=verdict.description,
        metadata=verdict.metadata,
    )


def result(key: dg.AssetKey, check: str, verdict: Verdict) -> dg.AssetCheckResult:
    """A verdict on all that a run was about."""
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=check,
        passed=verdict.passed,
        severity=verdict.severity,
        description=verdict.description,
        metadata=verdict.metadata,
    )


Judge = Callable[[Sequence[Fate]], Verdict]


@dataclass(frozen=True)
class PostingCheck:
    """A check of a posting: its name, what it promises, and how it judges."""

    name: str
    promise: str
    judge: Judge


def _accounted_for(fates: Sequence[Fate]) -> Verdict:
    lost = [fate for fate in fates if fate.state not in _KNOWN and fate.aside is None]
    aside = Counter(fate.aside for fate in fates if fate.state not in _KNOWN and fate.aside)
    told = (
        f"{_documents(lost)} were to be posted and were not sent. Plan and run the partition "
        "again; if they came into Intacct meanwhile, extract first."
        if lost
        else f"The fate of {_documents(fates)} is known."
    )
    return Verdict(
        not lost,
        dg.AssetCheckSeverity.ERROR,
        " ".join([told, *(f"{count:,} {why}." for why, count in sorted(aside.items()))]),
        {
            "documents": dg.MetadataValue.int(len(fates)),
            "not_sent": dg.MetadataValue.int(len(lost)),
            "not_to_be_sent": dg.MetadataValue.int(sum(aside.values())),
            **({"documents_not_sent": table_of(map(_place, lost), _WHERE)} if lost else {}),
        },
    )


def _none_refused(fates: Sequence[Fate]) -> Verdict:
    refused = [fate for fate in fates if fate.state is ItemState.REJECTED]
    return Verdict(
        not refused,
        severity(len(refused), len(fates)),
        f"Intacct refused {_documents(refused)} of {len(fates):,}: {_by_reason(refused)}."
        if refused
        else f"Intacct took {_documents(fates)}.",
        {
            "documents": dg.MetadataValue.int(len(fates)),
            "refused": dg.MetadataValue.int(len(refused)),
            **({"refusals": table_of(map(_refusal, refused), _REFUSED)} if refused else {}),
        },
    )


def _nothing_uncertain(fates: Sequence[Fate]) -> Verdict:
    unsure = [fate for fate in fates if fate.state is ItemState.UNCERTAIN]
    return Verdict(
        not unsure,
        dg.AssetCheckSeverity.ERROR,
        f"{_documents(unsure)} were sent, and nobody knows whether Intacct created them. Do not "
        "enter them by hand: run this partition again, which asks Intacct."
        if unsure
        else "Every document that was sent has an answer.",
        {
            "uncertain": dg.MetadataValue.int(len(unsure)),
            **({"documents_uncertain": table_of(map(_place, unsure), _WHERE)} if unsure else {}),
        },
    )


def _read_back_agrees(fates: Sequence[Fate]) -> Verdict:
    posted = [fate for fate in fates if fate.state is ItemState.POSTED]
    unread = [fate for fate in posted if fate.entry and fate.entry.read_back_at is None]
    differences = [each for fate in posted for each in fate.differences]
    if differences:
        told = (
            f"{len({each.source_id for each in differences}):,} of {_documents(posted)} are "
            "otherwise in Intacct than they were sent: compare them there, and correct one side."
        )
    elif unread:
        told = f"{_documents(unread)} could not be read back yet: run this partition again."
    else:
        told = f"Intacct holds {_documents(posted)} as they were sent."
    table = (
        {
            "source_id": each.source_id,
            "intacct_key": each.intacct_key,
            "field": each.field,
            "sent": each.sent,
            "found": each.found,
        }
        for each in differences
    )
    return Verdict(
        not unread,
        dg.AssetCheckSeverity.ERROR,
        told,
        {
            "posted": dg.MetadataValue.int(len(posted)),
            "not_read_back": dg.MetadataValue.int(len(unread)),
            **({"differences": table_of(table, _DIFFERENCES)} if differences else {}),
        },
    )


def _control_total(fates: Sequence[Fate]) -> Verdict:
    to_post = sum((fate.amount for fate in fates), Decimal())
    by_state = {
        state: sum(
            (Decimal(fate.entry.amount) for fate in fates if fate.entry and fate.state is state),
            Decimal(),
        )
        for state in _KNOWN
    }
    aside = sum((f.amount for f in fates if f.state not in _KNOWN and f.aside), Decimal())
    difference = to_post - sum(by_state.values(), Decimal()) - aside
    return Verdict(
        difference == 0,
        dg.AssetCheckSeverity.ERROR,
        f"To post {to_post:,.2f} = posted {by_state[ItemState.POSTED]:,.2f} "
        f"+ refused {by_state[ItemState.REJECTED]:,.2f} "
        f"+ uncertain {by_state[ItemState.UNCERTAIN]:,.2f}"
        + (f" + not to be sent {aside:,.2f}" if aside else "")
        + (f", which leaves {difference:,.2f} without a fate." if difference else "."),
        {
            "to_post": dg.MetadataValue.text(f"{to_post:.2f}"),
            **{
                state.value: dg.MetadataValue.text(f"{amount:.2f}")
                for state, amount in by_state.items()
            },
            "not_to_be_sent": dg.MetadataValue.text(f"{aside:.2f}"),
        },
    )


def severity(refused: int, documents: int) -> dg.AssetCheckSeverity:
    """How bad it is that so many of the documents were refused, or held."""
    if documents and Decimal(refused) / documents > TOLERATED_SHARE:
        return dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckSeverity.WARN


def _by_reason(refused: Iterable[Fate]) -> str:
    counts: dict[str, int] = {}
    for fate in refused:
        reason = (fate.entry.reason if fate.entry else None) or "no reason given"
        counts[reason] = counts.get(reason, 0) + 1
    told = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    shown = "; ".join(f"{reason.rstrip('.')} ({count})" for reason, count in told[:3])
    return f"{shown}; and {len(told) - 3} other reasons" if len(told) > 3 else shown


def _documents(fates: Sequence[Fate]) -> str:
    return f"{len(fates):,} document{'' if len(fates) == 1 else 's'}"


def _place(fate: Fate) -> dict[str, object]:
    return {
        "source_id": fate.source_id,
        "amount": f"{fate.amount:.2f}",
        # the folder is the feed's; DuckDB has the whole path
        "file": fate.file and PurePath(fate.file).name,
        "line": fate.line,
    }


def _refusal(fate: Fate) -> dict[str, object]:
    entry = fate.entry
    if entry is None:
        raise AssertionError("a refused document has an entry")
    return {
        **_place(fate),
        "position": entry.position,
        "reason": entry.reason,
        "field": entry.field,
        "what_to_do": entry.what_to_do,
        "error_id": entry.error_id,
        "support_id": entry.support_id,
    }


#: The checks of a posting, in the order in which the UI shows them.
POSTING_CHECKS = (
    PostingCheck(
        ACCOUNTED_FOR,
        "Every document that was to be posted has a known fate.",
        _accounted_for,
    ),
    PostingCheck(
        NONE_REFUSED,
        "Intacct took every document. A warning while at most one in ten is refused, an error "
        "above that.",
        _none_refused,
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
        "The amounts to post equal the amounts posted, refused, uncertain, and not to be sent, to "
        "the cent.",
        _control_total,
    ),
)
