"""Kept pages: the raw tables made again from them are those that were, to the last byte."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_dagster.config import ConfigError, ObjectSettings, Reading, read_settings
from intacct_dagster.extraction import loading
from intacct_dagster.extraction.extract import Extractor
from intacct_dagster.warehouse import (
    LoadRefused,
    Warehouse,
)
from intacct_dagster.warehouse.errors import PageArchiveUnreadable
from intacct_dagster.warehouse.raw import (
    PageArchive,
    RawLoad,
    rebuild,
)
from intacct_dagster.warehouse.raw.current import refresh_current
from intacct_dagster.warehouse.raw.entities import know_entities
from intacct_dagster.warehouse.raw.page_archive import archived_delete_scans, archived_loads
from intacct_dagster_tests.code_location import PROJECT
from intacct_dagster_tests.extraction.test_extract import (
    COLOUR,
    INVOICE,
    NOW,
    START,
    Company,
    Desk,
    days,
    invoices,
    model,
    row,
)

TABLES = (
    "raw.accounts_receivable_invoice",
    "raw.company_config_colour",
    "intacct.accounts_receivable_invoice",
    "meta.loads",
    "meta.raw_loads",
    "meta.as_of",
    "meta.catalogue",
    "meta.tombstones",
)
WHAT = ObjectSettings(name=INVOICE, history="all")


def company() -> Company:
    found = invoices(1, 2, 3, 4)
    found.rows[INVOICE].append(row("old", "2024-01-01T00:00:00Z", total="9.99"))
    found.models[COLOUR] = model(dated=False, name=None)
    found.rows[COLOUR] = [{"key": str(n), "entity.id": None, "name": f"c{n}"} for n in range(8)]
    return found


class Keeper(Desk):
    """A desk whose extractors keep their pages for 30 days."""

    @property
    def pages(self) -> Path:
        return self.folder / "pages"

    @property
    def kept(self) -> PageArchive:
        return PageArchive(self.pages, timedelta(days=30), lambda: self.now)

    @property
    def extractor(self) -> Extractor:
        return Extractor(
            self._intacct,
            self.warehouse,
            start_date=START,
            run_id="run/1",
            page_size=3,
            reading=self.reading,
            page_archive=self.kept,
            now=lambda: self.now,
        )


def content(warehouse: Warehouse, table: str) -> list[Any]:
    with warehouse.connect(read_only=True) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()


def rebuilt_by_hand(desk: Keeper) -> Warehouse:
    refresh_current(desk.warehouse, INVOICE)
    return desk.warehouse


def filled(folder: Path) -> Keeper:
    """A warehouse after some days: read again, changed, emptied, grown by a column, snapshots."""
    desk = Keeper(company(), folder, Reading(look_back_days=0))
    desk.extractor.extract(WHAT, "E110", days(1, 3))
    desk.extractor.extract(ObjectSettings(name=COLOUR), "E110", days(2, 2))
    rows = desk.company.rows[INVOICE]
    for each in rows:
        if each["key"] in ("2a", "2b"):  # the second of October becomes an empty day
            each |= {"audit.modifiedDateTime": "2026-10-04T23:00:00Z", "total": "77.70"}
    desk.company.models[INVOICE]["fields"]["memo"] = {"type": "string", "nullable": True}
    rows[-1]["memo"] = "läßt sich lesen"
    desk.now += timedelta(hours=1)
    desk.extractor.extract(WHAT, "E110", days(1, 4))
    desk.company.rows[COLOUR] = desk.company.rows[COLOUR][2:]
    desk.extractor.extract(ObjectSettings(name=COLOUR), "E110", days(3, 4))
    gone = [each for each in rows if each["key"] in ("old", "3a")]
    desk.company.rows[INVOICE] = [each for each in rows if each not in gone]
    desk.now += timedelta(minutes=1)
    assert desk.extractor.delete_scan(WHAT, "E110").deleted == 2
    desk.company.rows[INVOICE].append(gone[0])
    desk.now += timedelta(minutes=1)
    assert desk.extractor.delete_scan(WHAT, "E110").fetched == 1
    return desk


def test_a_rebuilt_warehouse_equals_the_one_that_was_read(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    asked = len(desk.company.asked)
    other = Warehouse(tmp_path / "other.duckdb")
    assert rebuild(other, desk.pages).loads == 5
    for table in TABLES:
        rows = content(desk.warehouse, table)
        assert rows
        assert content(other, table) == rows
    assert len(desk.company.asked) == asked
    for each in (desk.warehouse, other):
        refresh_current(each, INVOICE)
    current = content(desk.warehouse, "intacct.accounts_receivable_invoice")
    assert content(other, "intacct.accounts_receivable_invoice") == current
    assert len(current) < len(content(other, TABLES[0]))


def test_tombstones_and_catalogue_are_made_again_and_what_is_there_stays(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    before = {table: content(desk.warehouse, table) for table in TABLES}
    again = rebuild(desk.warehouse, desk.pages)
    assert (again.delete_scans, again.objects) == (2, ())
    assert {table: content(desk.warehouse, table) for table in TABLES} == before
    with desk.warehouse.connect() as connection:
        connection.execute("DELETE FROM meta.tombstones WHERE object = ?", [INVOICE])
        connection.execute("DELETE FROM meta.catalogue WHERE object = ?", [INVOICE])
    assert rebuild(desk.warehouse, desk.pages).objects == (INVOICE,)
    assert {table: content(desk.warehouse, table) for table in TABLES} == before


def test_pages_with_fewer_decimals_than_the_table_round_nothing(tmp_path: Path) -> None:
    desk = Keeper(invoices(1), tmp_path, Reading(look_back_days=0))
    desk.extractor.extract(WHAT, "E110", days(1, 1))
    desk.company.models[INVOICE] = model(total="decimal-precision-4")
    desk.company.rows[INVOICE].append(row("2", "2026-10-02T12:00:00Z", total="1.2345"))
    desk.extractor.extract(WHAT, "E110", days(2, 2))
    before = [content(desk.warehouse, table) for table in (TABLES[0], TABLES[2])]
    rebuild(desk.warehouse, desk.pages)
    assert [content(desk.warehouse, table) for table in (TABLES[0], TABLES[2])] == before
    assert "1.2345" in str(content(desk.warehouse, TABLES[0]))


def test_a_lost_table_is_made_again_in_place(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    before = {table: content(desk.warehouse, table) for table in TABLES}
    with desk.warehouse.connect() as connection:
        connection.execute(f"DROP TABLE {TABLES[0]}")
    assert rebuild(desk.warehouse, desk.pages, objects=[INVOICE], entities=["E110"]).loads == 3
    assert {table: content(desk.warehouse, table) for table in TABLES} == before
    assert rebuild(desk.warehouse, desk.pages, entities=["E120"]).loads == 0


def renamed_later(desk: Keeper) -> dict[str, list[Any]]:
    """What a warehouse has after its entity was renamed."""
    know_entities(desk.warehouse, ["E111"], {"E110": "E111"})
    found = {table: content(desk.warehouse, table) for table in TABLES}
    for table in TABLES[3:6]:
        assert "E110" not in str(found[table])
    return found


def test_what_was_kept_under_a_former_id_is_recorded_under_the_present_one(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    before = renamed_later(desk)
    other = Warehouse(tmp_path / "other.duckdb")
    know_entities(other, ["E111"], {"E110": "E111"})
    assert rebuild(other, desk.pages).loads == 5
    assert {table: content(other, table) for table in TABLES} == before
    assert rebuild(other, desk.pages, entities=["E111"]).loads == 5  # and not loaded twice
    assert rebuild(other, desk.pages, entities=["E110"]).loads == 5
    assert {table: content(other, table) for table in TABLES} == before


def test_a_table_that_was_lost_after_a_rename_is_made_again(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    before = renamed_later(desk)
    with desk.warehouse.connect() as connection:
        connection.execute(f"DROP TABLE {TABLES[0]}")
        connection.execute("DELETE FROM meta.tombstones WHERE object = ?", [INVOICE])
    assert rebuild(desk.warehouse, desk.pages).loads == 5
    assert {table: content(desk.warehouse, table) for table in TABLES} == before


def test_pages_are_kept_byte_for_byte_and_compressed(tmp_path: Path) -> None:
    many = invoices()
    many.rows[INVOICE] = [
        row(f"{n}", f"2026-10-02T10:{n // 60:02}:{n % 60:02}Z", total="1.50") for n in range(900)
    ]
    desk = Keeper(many, tmp_path)
    desk.extractor.extract(WHAT, "E110", days(2, 2))
    (kept,) = archived_loads(desk.pages)
    assert kept.folder.parent.parent == desk.pages / "accounts_receivable_invoice/E110"
    assert kept.load.proof.distinct_keys == 900
    assert [c.path for c in kept.load.columns] == [
        "audit.modifiedDateTime",
        "entity.id",
        "key",
        "total",
    ]
    assert {file.suffix for file in kept.folder.iterdir()} == {".zst", ".json"}


def test_pages_are_deleted_after_their_time(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    desk.now += timedelta(days=29, hours=23)
    assert desk.kept.prune() == 2  # an hour lay between them and the others
    desk.extractor.prepare([WHAT], "E110")
    assert len(archived_loads(desk.pages)) == 3
    desk.now += timedelta(hours=1)
    desk.extractor.prepare([WHAT], "E110")
    assert archived_loads(desk.pages) == []
    assert archived_delete_scans(desk.pages) == []


def test_a_load_that_fails_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_file: Warehouse, load: RawLoad) -> None:
        raise load.refused("it is not whole", "Read it again.")

    desk = Keeper(company(), tmp_path)
    monkeypatch.setattr(loading, "load_raw", refused)
    with pytest.raises(LoadRefused):
        desk.extractor.extract(WHAT, "E110", days(2, 2))
    assert archived_loads(desk.pages) == []
    assert list(desk.pages.rglob("*.zst")) == []


@pytest.mark.parametrize("name", ["load.json", "000001.json.zst"])
def test_a_damaged_page_is_named_and_changes_nothing(tmp_path: Path, name: str) -> None:
    desk = filled(tmp_path)
    damaged = archived_loads(desk.pages)[0].folder / name
    damaged.write_bytes(damaged.read_bytes()[:-20])
    before = {table: content(desk.warehouse, table) for table in TABLES}
    with pytest.raises(PageArchiveUnreadable, match=f"{name} cannot be read"):
        rebuild(desk.warehouse, desk.pages)
    assert {table: content(desk.warehouse, table) for table in TABLES} == before


def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    manifest = archived_loads(desk.pages)[0].folder / "load.json"
    manifest.write_text(manifest.read_text().replace("000001.json", "../../000001.json"))
    with pytest.raises(PageArchiveUnreadable, match="is not the name of a page"):
        rebuild(desk.warehouse, desk.pages)


def test_what_an_older_version_archived_is_read(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    manifests = [each.folder / "load.json" for each in archived_loads(desk.pages)]
    for manifest in manifests:
        found = json.loads(manifest.read_text())
        assert found["catalogue"]
        # 0.1 wrote neither of them
        del found["load"]["left"], found["load"]["proof"]["attempts"]
        manifest.write_text(json.dumps(found))
    scans = [each.folder / "sweep.json" for each in archived_delete_scans(desk.pages)]
    assert all(json.loads(scan.read_text())["sweep"]["object"] == INVOICE for scan in scans)
    before = {table: content(desk.warehouse, table) for table in TABLES}
    done = rebuild(desk.warehouse, desk.pages)
    assert (done.loads, done.delete_scans) == (len(manifests), len(scans))
    assert manifests
    assert scans
    assert {table: content(desk.warehouse, table) for table in TABLES} == before


def test_the_command_rebuilds_and_says_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = filled(tmp_path)
    settings = tmp_path / "intacct.yaml"
    settings.write_text(
        "company: demo\nbase_url: http://127.0.0.1:9/ia\nauth: {client_id: a, client_secret: b}\n"
        "entities: [{id: E110, user: usa}]\nstart_date: 2026-10-01\npage_retention_days: 30\n"
        f"objects: [{INVOICE}]\nwarehouse: warehouse.duckdb\n"
    )
    monkeypatch.setenv("INTACCT_CONFIG", str(settings))
    other = tmp_path / "other.duckdb"
    ran = CliRunner().invoke(main, ["rebuild", "--into", str(other)])
    assert ran.exit_code == 0, ran.output
    assert ran.output.splitlines()[0] == f"{INVOICE} of E110, 2026-10-01 to 2026-10-03: 7 rows"
    assert f"5 loads of 2 objects are in {other}, with the deletes of 2 sweeps" in ran.output
    assert content(Warehouse(other), "intacct.accounts_receivable_invoice") == content(
        rebuilt_by_hand(desk), "intacct.accounts_receivable_invoice"
    )
    settings.write_text(settings.read_text().replace("id: E110", "id: E111, was: E110", 1))
    renamed = tmp_path / "renamed.duckdb"
    assert CliRunner().invoke(main, ["rebuild", "--into", str(renamed)]).exit_code == 0
    before = renamed_later(desk)
    assert {table: content(Warehouse(renamed), table) for table in TABLES} == before
    none = CliRunner().invoke(main, ["rebuild", "--object", "time/timesheet"])
    assert none.exit_code == 1
    assert "No pages of that are kept" in none.output


@pytest.mark.parametrize(("told", "kept"), [("30 days", 30), ("1 day", 1), ("7", 7)])
def test_the_time_is_given_in_words(told: str, kept: int) -> None:
    text = (PROJECT / "intacct.yaml").read_text() + f"\npage_retention_days: {told}\n"
    assert read_settings(text, file=PROJECT / "intacct.yaml").page_retention_days == kept


@pytest.mark.parametrize("told", ["soon", "30 hours", "0 days"])
def test_a_time_that_is_none_is_refused_by_name(told: str) -> None:
    text = (PROJECT / "intacct.yaml").read_text() + f"\npage_retention_days: {told}\n"
    with pytest.raises(ConfigError, match="page_retention_days"):
        read_settings(text, file=PROJECT / "intacct.yaml")


def test_time_and_days_are_what_they_were(tmp_path: Path) -> None:
    desk = filled(tmp_path)
    last = archived_loads(desk.pages)[-2]  # the last one is by key
    assert last.load.days == [date(2026, 10, 3), date(2026, 10, 4)]
    assert last.load.extracted_at == NOW + timedelta(hours=1)
    assert last.kept_at.astimezone(UTC) == datetime(2026, 10, 5, 11, 0, tzinfo=UTC)
