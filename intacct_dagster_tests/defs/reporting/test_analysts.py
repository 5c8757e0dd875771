"""What analysts find: the views, against the same worked out in Python, and the guide's answers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from intacct_dagster.config import load_settings
from intacct_dagster.defs import (
    analyst_keys,
    build_definitions,
    crosswalk_key,
    current_key,
    deletes_key,
    feed_key,
    plan_key,
    posted_key,
    raw_key,
    reconciled_key,
)
from intacct_dagster.defs.checks.api_quota import API_QUOTA
from intacct_dagster.naming import Names
from intacct_dagster.warehouse import (
    Warehouse,
    snapshot_path,
)
from intacct_dagster.warehouse.errors import NotMaterialized, SchemaChanged
from intacct_dagster.warehouse.reporting import ANALYST_VIEWS, refresh_analysts
from intacct_dagster_tests.code_location import FEED, PROJECT, CodeLocation, code_location
from intacct_sandbox import LAST_DAY, SalesFeedFacts, write_sales_feed

CONTROL, SAGE_INTACCT, SNAPSHOT = Names().control, Names().sage_intacct, Names().snapshot
DAYS = 4
FIRST = LAST_DAY - timedelta(days=DAYS - 1)
ENTITIES = ("E110", "E120")
QUESTIONS = (PROJECT / "docs/questions.md").read_text(encoding="utf-8")
NOT_IN_BOOKS = {"draft", "submitted", "partiallyApproved", "approved", "declined"}


@dataclass
class Books:
    """Some days of two entities, read, posted, and in the readers' copy."""

    location: CodeLocation
    facts: SalesFeedFacts

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Rows from the readers' copy, as an analyst gets them."""
        path = str(snapshot_path(self.location.settings.warehouse))
        with duckdb.connect(path, read_only=True) as connection:
            cursor = connection.execute(sql)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    folder = tmp_path_factory.mktemp("books")
    facts = write_sales_feed(folder / "facts", seed=1, days=DAYS)
    settings = load_settings(PROJECT / "intacct.yaml")
    objects = [each.name for each in settings.objects]
    with code_location(folder, days=DAYS, start_date=FIRST, objects=settings.objects) as location:
        feed = [feed_key(FEED), reconciled_key(FEED), plan_key(FEED), posted_key(FEED)]
        for entity in ENTITIES:
            assert location.run(list(map(raw_key, objects)), entity=entity, first=FIRST).success
        assert location.run(list(map(current_key, objects))).success
        for entity in ENTITIES:
            assert location.run(feed, entity=entity, first=FIRST).success
        last = [crosswalk_key(FEED), *analyst_keys(location.settings)]
        assert location.run(last).success
        entity = ENTITIES[0]
        assert location.run([CONTROL], entity=entity, first=FIRST).success
        job = build_definitions(location.settings).resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(
            instance=location.instance,
            asset_selection=list(map(deletes_key, objects)),
            partition_key=entity,
        ).success
        yield Books(location, facts)


def test_the_general_ledger_has_every_line_in_the_books_once_and_signed(books: Books) -> None:
    entries = {each["key"]: each for each in books.ask("FROM intacct.general_ledger_journal_entry")}
    expected = {}
    for line in books.ask("FROM intacct.general_ledger_journal_entry_line"):
        entry = entries[line["journal_entry_key"]]
        if entry["state"] not in NOT_IN_BOOKS:
            sign = 1 if line["txn_type"] == "debit" else -1
            expected[line["key"]] = (
                entry["posting_date"],
                entry["gl_journal_id"],
                line["gl_account_id"],
                sign * line["base_amount"],
                sign * line["txn_amount"],
            )
    ledger = books.ask("FROM intacct.general_ledger")
    assert len(expected) > 100
    assert len(ledger) == len(expected)
    for row in ledger:
        where = ("posting_date", "journal_id", "account_id", "amount", "txn_amount")
        assert tuple(row[name] for name in where) == expected[row["line_key"]]
        assert row["debit"] - row["credit"] == row["amount"]
        assert isinstance(row["amount"], Decimal)
        assert row["account_type"] in ("balanceSheet", "incomeStatement")


def test_the_trial_balance_adds_up_by_day_and_on_any_day(books: Books) -> None:
    by_day: dict[tuple[str, str, date], Decimal] = defaultdict(Decimal)
    for row in books.ask("FROM intacct.general_ledger"):
        by_day[row["entity_id"], row["account_id"], row["posting_date"]] += row["amount"]
    days = sorted({day for _, _, day in by_day})

    def balance(entity: str, account: str, until: date) -> Decimal:
        return sum(
            (
                amount
                for (its, number, day), amount in by_day.items()
                if (its, number) == (entity, account) and day <= until
            ),
            Decimal(),
        )

    trial = books.ask("FROM intacct.trial_balance")
    assert {
        (row["entity_id"], row["account_id"], row["day"]): row["net"] for row in trial
    } == by_day
    for row in trial:
        assert row["balance"] == balance(row["entity_id"], row["account_id"], row["day"])
    middle = days[len(days) // 2]
    on = books.ask(f"FROM intacct.trial_balance_on('{middle}')")
    assert on
    for row in on:
        assert row["balance"] == balance(row["entity_id"], row["account_id"], middle)
    assert sum((row["balance"] for row in on), Decimal()) == 0


@pytest.mark.parametrize(
    ("which", "table", "party", "dated"),
    [
        ("ar", "accounts_receivable_invoice", "customer", "invoice_date"),
        ("ap", "accounts_payable_bill", "vendor", "created_date"),
    ],
)
@pytest.mark.parametrize("later", [-1, 0, 45, 200])
def test_ageing_puts_what_is_due_into_the_bucket_of_its_day(
    books: Books, which: str, table: str, party: str, dated: str, later: int
) -> None:
    on = LAST_DAY + timedelta(days=later)
    expected: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in books.ask(f"FROM intacct.{table}"):
        paid = row["payment_information_fully_paid_date"]
        due = row["total_base_amount" if paid and paid > on else "total_base_amount_due"]
        if row[dated] > on or row["state"] not in ("posted", "paid", "partiallyPaid") or not due:
            continue
        late = (on - row["due_date"]).days
        bucket = "not_due" if late <= 0 else "over_90_days"
        for name, most in (("days_61_90", 90), ("days_31_60", 60), ("days_1_30", 30)):
            if 0 < late <= most:
                bucket = name
        of = expected[row["entity_id"], row[f"{party}_id"]]
        of[bucket] += due
        of["due"] += due
    found = books.ask(f"FROM intacct.{which}_ageing_on('{on}')")
    assert found
    names = ("not_due", "days_1_30", "days_31_60", "days_61_90", "over_90_days", "due")
    assert {
        (row["entity_id"], row[f"{party}_id"]): {name: row[name] for name in names} for row in found
    } == {who: {name: amounts[name] for name in names} for who, amounts in expected.items()}
    if later == 0:
        assert sorted(map(repr, found)) == sorted(
            map(repr, books.ask(f"FROM intacct.{which}_ageing"))
        ), "the view is of the last day that was read"


def test_posted_against_source_tells_what_became_of_every_document(books: Books) -> None:
    rows = books.ask("FROM intacct.posted_against_source")
    assert {row["day"] for row in rows} == {FIRST + timedelta(days=day) for day in range(DAYS)}
    outcomes = (
        *("posted", "matched", "different", "rejected", "held", "uncertain", "to_post"),
        *("invalid", "duplicate"),
    )
    for entity in ENTITIES:
        facts = books.facts.entities[entity]
        mine = [row for row in rows if row["entity_id"] == entity]
        total = {name: sum(row[name] for row in mine) for name in (*outcomes, "documents")}
        assert total["documents"] == facts.documents == sum(total[name] for name in outcomes)
        assert total["posted"] == facts.missing_good
        assert total["matched"] == facts.matched
        assert total["different"] == facts.different
        assert total["duplicate"] == facts.duplicate
        assert total["invalid"] == facts.invalid
        assert total["rejected"] + total["held"] == sum(facts.rejected.values())
    for row in rows:
        assert row["amount"] == row["amount_in_intacct"] + row["amount_open"]


def test_every_column_is_explained_and_its_lineage_leads_to_columns_that_exist(
    books: Books,
) -> None:
    columns = {
        (f"{row['schema_name']}/{row['table_name']}", row["column_name"]): row["comment"]
        for row in books.ask("SELECT * FROM duckdb_columns() WHERE NOT internal")
    }
    for view in ANALYST_VIEWS:
        mine = {
            name: comment
            for (table, name), comment in columns.items()
            if table == f"intacct/{view.name}"
        }
        assert list(mine) == [column.name for column in view.columns]
        assert all(mine.values())
    views = books.ask("SELECT comment FROM duckdb_views() WHERE schema_name = 'intacct'")
    assert all(row["comment"] for row in views)
    macros = books.ask(
        "SELECT comment FROM duckdb_functions() WHERE function_type = 'table_macro'"
        " AND schema_name = 'intacct'"
    )
    assert len(macros) == sum(len(view.macros) for view in ANALYST_VIEWS)
    assert all(row["comment"] for row in macros)
    for key in analyst_keys(books.location.settings):
        event = books.location.instance.get_latest_materialization_event(key)
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        assert int(str(metadata["dagster/row_count"].value)) > 0
        lineage = metadata["dagster/column_lineage"].value
        assert isinstance(lineage, dg.TableColumnLineage)
        deps = [dep for deps in lineage.deps_by_column.values() for dep in deps]
        assert deps
        for dep in deps:
            assert (dep.asset_key.to_user_string(), dep.column_name) in columns


def test_a_view_without_its_objects_is_not_made_and_says_what_it_needs(tmp_path: Path) -> None:
    with code_location(tmp_path) as location:
        definitions = build_definitions(location.settings)
    specs = {each.key.to_user_string(): each for each in definitions.resolve_all_asset_specs()}
    description = str(specs["intacct/trial_balance"].description)
    assert description.startswith("Not made: it needs general-ledger/journal-entry-line, ")
    assert "Not made" not in str(specs["intacct/ar_ageing"].description)
    keys = {key.to_user_string() for key in analyst_keys(location.settings)}
    assert keys == {"intacct/ar_ageing", "intacct/posted_against_source"}
    assert (
        not definitions.resolve_asset_graph()
        .get(dg.AssetKey(["intacct", "trial_balance"]))
        .is_executable
    )


def test_a_view_says_which_table_or_field_is_not_there(tmp_path: Path) -> None:
    ageing = next(view for view in ANALYST_VIEWS if view.name == "ap_ageing")
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with pytest.raises(NotMaterialized, match="accounts_payable_bill, which is not there"):
        refresh_analysts(warehouse, ageing)
    with warehouse.connect() as connection:
        connection.execute(
            "CREATE SCHEMA intacct; CREATE TABLE intacct.accounts_payable_bill (entity_id VARCHAR)"
        )
    with pytest.raises(SchemaChanged, match="widen `fields` of accounts-payable/bill"):
        refresh_analysts(warehouse, ageing)


STATEMENTS = dict(
    re.findall(r"^## (\d+\. .*?)\n.*?^```sql\n(.*?)^```", QUESTIONS, re.DOTALL | re.MULTILINE)
)


def test_there_are_ten_questions_and_each_has_its_statement() -> None:
    assert len(STATEMENTS) == 10
    assert list(STATEMENTS) == re.findall(r"^## (.*)$", QUESTIONS, re.MULTILINE)


@pytest.mark.parametrize("question", STATEMENTS)
def test_a_question_of_the_guide_has_an_answer(books: Books, question: str) -> None:
    rows = books.ask(STATEMENTS[question])
    assert rows
    for row in rows:
        assert not any(isinstance(value, float) for value in row.values())


# -- how assets present themselves ---------------------------------------------------------------


def metadata_of(books: Books, key: dg.AssetKey) -> dict[str, Any]:
    event = books.location.instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def columns_of(metadata: dict[str, Any]) -> dict[str, str | None]:
    schema = metadata.get("dagster/column_schema")
    return {each.name: each.description for each in schema.columns} if schema else {}


def test_every_asset_of_the_graph_says_all_that_a_reader_asks(books: Books) -> None:
    settings = books.location.settings.model_copy(
        update={"owners": ("team:finance", "ada@example.com")}
    )
    specs = {each.key: each for each in build_definitions(settings).resolve_all_asset_specs()}
    shown = {
        key: {
            **{name: getattr(value, "value", value) for name, value in spec.metadata.items()},
            **(metadata_of(books, key) if key != SAGE_INTACCT else {}),
        }
        for key, spec in specs.items()
    }
    no_table = {SAGE_INTACCT, SNAPSHOT}
    holes: list[str] = []
    for key, spec in specs.items():
        metadata = shown[key]
        wanted = {
            "what it is": spec.description,
            "a group": spec.group_name not in (None, "default"),
            "a kind": spec.kinds,
            "owners": list(spec.owners) == ["team:finance", "ada@example.com"],
            "its code": metadata.get("dagster/code_references"),
            # of all feeds together, or of all objects
            "a tag": any(name.startswith("intacct/") for name in spec.tags)
            or key in {*no_table, dg.AssetKey(["intacct", "posted_against_source"])},
        }
        if key not in no_table:
            columns = columns_of(metadata)
            rows = metadata.get("dagster/partition_row_count" if spec.partitions_def else "")
            wanted |= {
                "a table": "dagster/table_name" in metadata,
                "a relation": str(metadata.get("dagster/relation_identifier")).count(".") == 2,
                "columns": columns,
                f"what {[name for name, comment in columns.items() if not comment]} hold": all(
                    columns.values()
                ),
                "rows": isinstance(metadata.get("dagster/row_count"), int),
                "rows of the partition": spec.partitions_def is None or isinstance(rows, int),
            }
        # Nothing that has columns lies before these.
        if key not in no_table and key.path[0] not in ("raw", "feed"):
            lineage = metadata.get("dagster/column_lineage")
            deps = [
                dep for deps in (lineage.deps_by_column if lineage else {}).values() for dep in deps
            ]
            astray = [
                dep for dep in deps if dep.column_name not in columns_of(shown[dep.asset_key])
            ]
            wanted |= {
                "lineage": deps,
                f"lineage to columns that are there, not {astray}": not astray,
            }
        holes += [f"{key.to_user_string()}: {name}" for name, there in wanted.items() if not there]
    assert "\n".join(holes) == ""
    account = specs[raw_key("general-ledger/account")]
    assert account.tags["intacct/application"] == "general-ledger"
    for schema in ("feed", "reconciled", "plan", "posting", "crosswalk"):
        assert specs[dg.AssetKey([schema, FEED])].tags["intacct/feed"] == FEED
    assert columns_of(shown[feed_key(FEED)])["invoice_ref"] == (
        "The document's id in the source system; sent as referenceNumber (the same on all lines)"
    )


def test_links_to_code_lead_to_the_teams_repository_where_it_is_named(books: Books) -> None:
    url = "https://git.example.com/acme/books/tree/main"
    settings = books.location.settings.model_copy(update={"source_code": f"{url}/"})
    for spec in build_definitions(settings).resolve_all_asset_specs():
        (link,) = spec.metadata["dagster/code_references"].code_references
        assert isinstance(link, dg.UrlCodeReference)
        path, _, line = link.url.removeprefix(f"{url}/").partition("#L")
        text = (PROJECT / path).read_text(encoding="utf-8").splitlines()
        assert 0 < int(line) <= len(text), spec.key


def test_samples_show_documents_and_nothing_that_names_a_person(books: Books) -> None:
    samples: dict[str, Any] = {
        each.name: metadata_of(books, current_key(each.name)).get("sample_without_personal_data")
        for each in books.location.settings.objects
    }
    shown = {name for name, sample in samples.items() if sample}
    assert shown == {
        "accounts-payable/bill",
        "accounts-payable/bill-line",
        "accounts-receivable/invoice",
        "accounts-receivable/invoice-line",
        "general-ledger/account",
        "general-ledger/journal",
        "general-ledger/journal-entry",
        "general-ledger/journal-entry-line",
    }
    names = [
        str(row["name"])
        for table in ("accounts_receivable_customer", "accounts_payable_vendor")
        for row in books.ask(f"SELECT name FROM intacct.{table}")
    ]
    assert names
    for name in shown:
        records = samples[name].records
        assert 0 < len(records) <= 5
        text = repr([record.data for record in records])
        assert "key" in records[0].data
        assert not [each for each in names if each in text]
        assert not {"description", "memo", "notes"} & records[0].data.keys()


def test_pictures_tell_what_became_of_documents_and_what_objects_cost(books: Books) -> None:
    posted = metadata_of(books, dg.AssetKey(["intacct", "posted_against_source"]))
    assert str(posted["documents_by_day"]).count("data:image/svg+xml") == 1
    definitions = build_definitions(books.location.settings)
    job = dg.define_asset_job(
        "cost",
        selection=dg.AssetSelection.checks(dg.AssetCheckKey(SAGE_INTACCT, API_QUOTA)),
    )
    result = (
        dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
        .resolve_job_def("cost")
        .execute_in_process(instance=books.location.instance)
    )
    [evaluation] = result.get_asset_check_evaluations()
    metadata = {name: value.value for name, value in evaluation.metadata.items()}
    assert "data:image/svg+xml" in str(metadata["cost_by_object"])
    table: Any = metadata["by_object"]
    rows = [record.data for record in table.records]
    assert sum(row["api_transactions"] for row in rows) == metadata["month_to_date"]
    assert {"accounts-receivable/invoice", "general-ledger/journal-entry-line"} <= {
        row["object"] for row in rows
    }
