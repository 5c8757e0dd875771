"""What a person sees in Dagster's UI, in a real browser: the graph, partitions, checks, a backfill.

`make browser` runs it; it needs Chromium. With SCREENSHOTS=<folder> (`make screenshots`) the pages
are kept as pictures.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster_ui import ENTITIES, UI, demo_in_the_ui
from playwright.sync_api import Browser, Page, expect

FEED = "sales_invoices"
DAYS = ("2026-10-12", "2026-10-13")
#: The UI loads its parts one by one; on a busy machine that takes a while.
PATIENCE = 30_000

_LAUNCH = """
mutation launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


@pytest.fixture(scope="session")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UI]:
    with demo_in_the_ui(tmp_path_factory.mktemp("project")) as ui:
        yield ui


@pytest.fixture(scope="session")
def page(browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    return page


@pytest.fixture(scope="session")
def daemon(ui: UI) -> Iterator[None]:
    with ui.daemon():
        yield


def kept(page: Page, name: str) -> None:
    """Keeps what the browser shows as a picture for the docs, where that is asked for."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.wait_for_load_state("networkidle")
        page.screenshot(path=Path(folder) / f"{name}.png")


def see(page: Page, text: str) -> None:
    expect(page.get_by_text(text).first).to_be_visible()


def test_the_graph_leads_from_intacct_to_what_analysts_and_accountants_ask(
    ui: UI, page: Page
) -> None:
    page.goto(f"{ui.url}/asset-groups")
    groups = (
        *("intacct", "raw", "current", "deletes", "feeds", "reconciled", "planned", "posted"),
        *("analysts", "control"),
    )
    for group in groups:
        expect(page.get_by_text(group, exact=True).last).to_be_visible()
    kept(page, "asset-graph")


def test_an_analyst_finds_what_a_table_is_and_what_its_columns_mean(ui: UI, page: Page) -> None:
    page.goto(f"{ui.url}/assets/intacct/general_ledger?view=overview")
    see(page, "The general ledger: a row is a line of a journal entry")
    see(page, "Signed: debits plus, credits minus")
    see(page, "DECIMAL(38,2)")
    see(page, "Row count")
    see(page, "intacct.general_ledger")
    see(page, "analysts.py")
    kept(page, "general-ledger")


def test_the_partitions_of_a_table_are_entities_by_day(ui: UI, page: Page) -> None:
    page.goto(f"{ui.url}/assets/raw/accounts_receivable_invoice?view=partitions")
    see(page, f"Materialized ({len(DAYS) * len(ENTITIES)})")
    see(page, "Missing (0)")
    see(page, "Failed (0)")
    for name in (*DAYS, *ENTITIES):
        see(page, name)


def test_a_check_says_what_intacct_rejected_why_and_what_to_do(ui: UI, page: Page) -> None:
    page.goto(f"{ui.url}/assets/posting/{FEED}?view=checks&checkDetail=no_item_rejected")
    see(page, "Intacct rejected 2 documents of")
    see(page, "a line has no Department, and its account needs one")
    for check in ("control_total", "every_item_accounted_for", "read_back_agrees"):
        see(page, check)
    see(page, "Failed")
    kept(page, "rejected-check")


def test_a_plan_says_what_would_be_created_and_by_which_name_it_is_approved(
    ui: UI, page: Page
) -> None:
    page.goto(f"{ui.url}/assets/plan/{FEED}?view=events")
    for name in ("to_create", "held", "amount_to_create", "totals", "documents_to_create"):
        see(page, name)
    expect(page.get_by_text("plan", exact=True).last).to_be_visible()
    kept(page, "plan")


def test_the_picture_of_what_became_of_documents_is_drawn(ui: UI, page: Page) -> None:
    page.goto(f"{ui.url}/assets/intacct/posted_against_source?view=events")
    page.get_by_text("[Show Markdown]").first.click()
    picture = page.locator("img[src^='data:image/svg+xml']").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.complete && image.naturalWidth > 300")
    kept(page, "documents-by-day")


def test_a_feeds_columns_say_what_they_are_used_for(ui: UI, page: Page) -> None:
    page.goto(f"{ui.url}/assets/feed/{FEED}?view=overview")
    see(page, "The document's id in the source system; sent as referenceNumber")
    see(page, "The sum of line_amount")
    see(page, "Row count")


@pytest.mark.usefixtures("daemon")
def test_the_company_is_judged_at_a_press_and_how_far_it_is_read_is_drawn(
    ui: UI, page: Page
) -> None:
    page.goto(f"{ui.url}/assets/sage_intacct?view=checks&checkDetail=entities_are_fresh")
    before = time.time()
    page.get_by_role("button", name="Execute all").click()
    assert ui.wait_for_runs({"createdAfter": before}) == ["SUCCESS"]
    see(page, f"Every object of {len(ENTITIES)} entities is read up to {DAYS[-1]}")
    for check, picture in (
        ("entities_are_fresh", "Days not read"),
        ("api_quota", "API transactions of the month, by object"),
    ):
        page.goto(f"{ui.url}/assets/sage_intacct?view=checks&checkDetail={check}")
        page.get_by_text("[Show Markdown]").first.click()
        drawn = page.locator(f"img[alt^='{picture}']").first
        expect(drawn).to_be_visible()
        assert drawn.evaluate("image => image.complete && image.naturalWidth > 300")
        kept(page, check.replace("_", "-"))


@pytest.mark.usefixtures("daemon")
def test_a_backfill_of_days_is_one_run_and_its_partitions_show(ui: UI, page: Page) -> None:
    params = {
        "assetSelection": [{"path": ["control", "general_ledger"]}],
        "partitionNames": [f"{day}|E110" for day in DAYS],
        "title": "Control totals of two days",
    }
    launched = ui.query(_LAUNCH, {"params": params})["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    page.goto(f"{ui.url}/runs/b/{launched['backfillId']}")
    see(page, "general_ledger")
    see(page, "Partitions targeted")
    of_backfill = {"tags": [{"key": "dagster/backfill", "value": launched["backfillId"]}]}
    assert ui.wait_for_runs(of_backfill) == ["SUCCESS"], "one run for both days"
    page.goto(f"{ui.url}/assets/control/general_ledger?view=partitions")
    see(page, "Materialized (2)")
    see(page, "Missing (2)")
