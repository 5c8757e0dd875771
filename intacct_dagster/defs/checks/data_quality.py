"""Checks of what was read: whether it is complete, fresh, and in its usual numbers.

None of them has partitions. Each reads all partitions with one statement and names those that fail,
the oldest first, so that a backfill of 7,300 partitions has one evaluation of each check and not
7,300. Checks by partition are those where a person acts on a partition: of what was planned and
posted, and of the books.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from intacct_dagster.config import Settings
from intacct_dagster.defs.checks.results import CheckResult, nothing_judged, result
from intacct_dagster.defs.failures import as_dagster_failure
from intacct_dagster.defs.pictures import BAD, DOUBTFUL, bars
from intacct_dagster.defs.resources import warehouse_in
from intacct_dagster.defs.tables import table_of
from intacct_dagster.naming import Names
from intacct_dagster.warehouse.raw import (
    FieldChange,
    Freshness,
    NotAsLoaded,
    Unusual,
    field_changes,
    freshness,
    loaded_objects,
    not_as_loaded,
    unusual_days,
)

ROW_COUNT = "row_count_matches_load"
ANOMALY = "row_count_anomaly"
FRESH = "entities_are_fresh"
SCHEMA_DRIFT = "schema_drift"

#: For how long a field that came or went is reported.
_RECENT = timedelta(days=14)

_NOT_AS_LOADED = {
    "entity": "string",
    "day": "string",
    "rows": "int",
    "proved": "int",
    "of_others": "int",
}
_UNUSUAL = {
    "entity": "string",
    "day": "string",
    "rows": "int",
    "usual": "int",
    "weeks": "int",
}
_STALE = {
    "entity": "string",
    "object": "string",
    "last_day": "string",
    "behind": "int",
    "gaps": "int",
    "read_at": "string",
}
_FIELDS = {
    "object": "string",
    "field": "string",
    "column": "string",
    "what": "string",
    "since": "string",
}


def raw_checks(settings: Settings) -> dg.AssetChecksDefinition:
    """Build two checks of each raw table, as one op that runs with what reads it."""
    names = Names.of(settings)
    objects = {names.raw(each.name): each.name for each in settings.objects}

    @dg.multi_asset_check(
        name=names.look_at_raw,
        specs=[
            spec
            for key in objects
            for spec in (
                dg.AssetCheckSpec(
                    ROW_COUNT,
                    asset=key,
                    # A document that is not in the table looks missing in Intacct, and would be
                    # planned to be posted a second time.
                    blocking=True,
                    description=(
                        "The table has the rows that each load proved complete, and none of "
                        "another entity. Stops what comes after in a run of that entity."
                    ),
                ),
                dg.AssetCheckSpec(
                    ANOMALY,
                    asset=key,
                    description=(
                        "No day of the last week has five times more or fewer rows than that day "
                        "of the week mostly has (four weeks and twenty rows at least)."
                    ),
                ),
            )
        ],
        can_subset=True,
        required_resource_keys={names.warehouse},
    )
    def look(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        warehouse = warehouse_in(context, settings)
        checks = sorted(context.selected_asset_check_keys, key=lambda each: each.to_user_string())
        loaded = as_dagster_failure(settings, loaded_objects, warehouse.warehouse)
        known = {objects[check.asset_key] for check in checks} & loaded
        wrong: Mapping[str, Sequence[NotAsLoaded]] = {}
        unusual: Mapping[str, Sequence[Unusual]] = {}
        if known:
            wrong = as_dagster_failure(settings, not_as_loaded, warehouse.warehouse, known)
            unusual = as_dagster_failure(settings, unusual_days, warehouse.warehouse, known)
        concerned = entities_of(settings, context.run.tags)
        for check in checks:
            name = objects[check.asset_key]
            if name not in known:
                found = nothing_judged(f"Nothing of {name} was loaded yet. Materialize it.")
            elif check.name == ROW_COUNT:
                found = check_row_count(wrong[name], name, concerned)
            else:
                found = check_anomalies(unusual[name])
            yield result(check.asset_key, check.name, found)

    return look


def company_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Build the checks of the company: they also report runs that did not happen."""
    names = Names.of(settings)
    entities = list(settings.active)
    objects = [each.name for each in settings.objects]

    @dg.asset_check(
        asset=names.sage_intacct,
        name=FRESH,
        description=(
            "Every object of every entity is read up to yesterday, or up to the day before, and "
            "without a gap."
        ),
        required_resource_keys={names.warehouse},
    )
    def fresh(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        warehouse = warehouse_in(context, settings)
        until = last_day_over(settings, datetime.now(UTC))
        found = (
            as_dagster_failure(
                settings,
                freshness,
                warehouse.warehouse,
                entities,
                objects,
                first=settings.start_date,
                until=until,
            )
            if settings.start_date <= until
            else []
        )
        return result(names.sage_intacct, FRESH, check_freshness(found, until))

    @dg.asset_check(
        asset=names.sage_intacct,
        name=SCHEMA_DRIFT,
        description=(
            f"No field came or went in the last {_RECENT.days} days: columns of tables that other "
            "work reads."
        ),
        required_resource_keys={names.warehouse},
    )
    def fields(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        warehouse = warehouse_in(context, settings)
        if not as_dagster_failure(settings, loaded_objects, warehouse.warehouse) & set(objects):
            none = nothing_judged("No object was read yet, so its fields are not known.")
            return result(names.sage_intacct, SCHEMA_DRIFT, none)
        found = as_dagster_failure(settings, field_changes, warehouse.warehouse, objects)
        return result(
            names.sage_intacct, SCHEMA_DRIFT, check_schema_drift(found, datetime.now(UTC))
        )

    return [fresh, fields]


def last_day_over(settings: Settings, now: datetime) -> date:
    """Return the last day that should be read by now: yesterday, or the settings' last."""
    yesterday = now.date() - timedelta(days=1)
    return min(yesterday, settings.end_date) if settings.end_date else yesterday


def entities_of(settings: Settings, tags: Mapping[str, str]) -> set[str]:
    """Return the entities of a run, by its tags; all entities if it has no partitions."""
    entities = [each.id for each in settings.entities]
    one = tags.get("dagster/partition")
    first = tags.get("dagster/asset_partition_range_start", one)
    last = tags.get("dagster/asset_partition_range_end", one)
    if first is None or last is None:
        return set(entities)
    begin, end = (entities.index(key.split("|", 1)[1]) for key in (first, last))
    return set(entities[begin : end + 1])


def check_row_count(
    found: Sequence[NotAsLoaded], name: str, entities: Collection[str]
) -> CheckResult:
    """Return the result for loads whose rows are not as they were proved, the oldest first.

    The check stops a run of one of their `entities`, and no other run.
    """
    if not found:
        text = "The table has the rows that each load proved, and none of another entity."
    else:
        first = found[0]
        proved = "no load" if first.proved is None else f"{first.proved:,} proved"
        others = sum(each.of_others for each in found)
        text = (
            f"{_number(found, 'load')} of {name} have other rows than were proved; the oldest is "
            f"of {first.entity}, {first.day}: {first.rows:,} rows, {proved}. "
            + (f"{others:,} rows are of another entity. " if others else "")
            + "Something else wrote to the table: read it from the start: "
            f"intacct-dagster objects reload {name}. Do not post before."
        )
    concerned = any(each.entity in entities for each in found)
    return CheckResult(
        not found,
        dg.AssetCheckSeverity.ERROR if concerned else dg.AssetCheckSeverity.WARN,
        text,
        {
            "loads": dg.MetadataValue.int(len(found)),
            **(
                {"not_as_loaded": table_of(map(_fields_of, found), _NOT_AS_LOADED)} if found else {}
            ),
        },
    )


def check_anomalies(found: Sequence[Unusual]) -> CheckResult:
    """Return the result for days with far more or fewer rows than usual."""
    if found:
        first = found[0]
        text = (
            f"{_number(found, 'partition')} of the last week are unusual; the oldest is "
            f"{first.entity} on {first.day}: {first.rows:,} rows, where {first.usual:,} are usual "
            "on that day of the week. A holiday, an import, or a user who lost a permission? "
            "Compare with Intacct; if rows are missing, read the day again."
        )
    else:
        text = "No day of the last week has far more or fewer rows than usual."
    return CheckResult(
        not found,
        dg.AssetCheckSeverity.WARN,
        text,
        {
            "partitions": dg.MetadataValue.int(len(found)),
            **({"found": table_of(map(_fields_of, found), _UNUSUAL)} if found else {}),
        },
    )


def check_freshness(found: Sequence[Freshness], until: date) -> CheckResult:
    """Return how far everything is read, the furthest behind first. One day behind still passes."""
    if not found:
        return nothing_judged(
            f"No entity or no object has a day to be read up to {until}: see `start_date`, "
            "`entities` and `objects` in intacct.yaml."
        )
    stale = [each for each in found if each.behind > 1 or each.gaps]
    worst: dict[str, Freshness] = {}
    for each in found:
        worst.setdefault(each.entity, each)
    gaps = Counter[str]()
    for each in found:
        gaps[each.entity] = max(gaps[each.entity], each.gaps)
    if stale:
        first = stale[0]
        read = f"up to {first.last_day}" if first.last_day else "not at all"
        text = (
            f"{len({each.entity for each in stale})} of {len(worst)} entities are not read as they "
            f"should be, up to {until}. Furthest behind is {first.entity}, {first.object}: read "
            f"{read}, {first.behind:,} days behind"
            + (f", with {first.gaps:,} days left out before" if first.gaps else "")
            + ". Materialize what is missing under Partitions of the raw assets; if runs fail, "
            "their message says why."
        )
    else:
        text = f"Every object of {len(worst)} entities is read up to {until}."
    return CheckResult(
        not stale,
        dg.AssetCheckSeverity.WARN,
        text,
        {
            "days_behind": dg.MetadataValue.int(max((each.behind for each in found), default=0)),
            "days_left_out": dg.MetadataValue.int(sum(gaps.values())),
            "freshness": bars(
                f"Days not read, up to {until}: 0 is as it should be",
                [
                    (
                        f"{entity}, read up to {each.last_day or 'nothing'}",
                        {"behind": max(each.behind, 0), "left out before": gaps[entity]},
                    )
                    for entity, each in sorted(worst.items())
                ],
                {"behind": DOUBTFUL, "left out before": BAD},
                unit="days",
            ),
            **({"stale": table_of(map(_fields_of, stale), _STALE)} if stale else {}),
        },
    )


def check_schema_drift(found: Sequence[FieldChange], now: datetime) -> CheckResult:
    """Return the result for fields that came or went."""
    recent = [each for each in found if now - each.since <= _RECENT]
    if recent:
        gone = sum(each.vanished for each in recent)
        oldest = min(recent, key=lambda each: each.since)
        text = (
            f"{gone:,} fields went and {len(recent) - gone:,} came; the first was {oldest.object} "
            f"{oldest.path}, on {oldest.since:%Y-%m-%d}. The column of one that went stays, and is "
            "null in what is read from then on: see to the queries that use it."
        )
    else:
        text = f"No field came or went in the last {_RECENT.days} days."
    rows = (
        {
            "object": each.object,
            "field": each.path,
            "column": each.column,
            "what": "went" if each.vanished else "came",
            "since": f"{each.since:%Y-%m-%d}",
        }
        for each in found
    )
    return CheckResult(
        not recent,
        dg.AssetCheckSeverity.WARN,
        text,
        {
            "fields_changed": dg.MetadataValue.int(len(recent)),
            **({"fields": table_of(rows, _FIELDS)} if found else {}),
        },
    )


def _fields_of(found: NotAsLoaded | Unusual | Freshness) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__slots__}


def _number(found: Sequence[object], of: str) -> str:
    return f"{len(found):,} {of}{'' if len(found) == 1 else 's'}"
