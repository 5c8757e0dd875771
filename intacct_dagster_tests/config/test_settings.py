"""intacct.yaml: what it means, and errors that name file, line and key."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from intacct_dagster.config import ConfigError, Settings, load_settings, read_settings, timetable

PROJECT = Path(__file__).parents[2]
FILE = Path("/etc/books/intacct.yaml")
BASE = """\
company: acme
base_url: http://127.0.0.1:8765/ia/api/v1/
auth:
  client_id: app
  client_secret: ${SECRET:-s3cret}
entities:
  - {id: E110, user: usa}
start_date: 2026-01-01
objects:
  - accounts-receivable/invoice
  - {name: general-ledger/account, fields: [id, name]}
"""
FEED = """\
feeds:
  sales:
    files: sales/*.csv
    object: accounts-receivable/invoice
    source_id: ref
    line_id: line
    entity: entity
    date: day
    match_on: referenceNumber
    payload: {referenceNumber: ref, lines: {txnAmount: amount}}
"""


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COMPANY", "BASE_URL", "CLIENT_ID", "CLIENT_SECRET", "CONFIG"):
        monkeypatch.delenv(f"INTACCT_{name}", raising=False)


def read(text: str) -> Settings:
    return read_settings(text, file=FILE)


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as told:
        read(text)
    return str(told.value).splitlines()


def test_the_projects_own_file_is_the_sandbox() -> None:
    settings = load_settings(PROJECT / "intacct.yaml")
    assert settings.is_sandbox
    assert settings.users == {"E110": "usa", "E120": "can", "E130": "gbr", "E140": "aus"}
    assert settings.warehouse == PROJECT / "data/warehouse.duckdb"
    assert settings.state == f"sqlite:///{PROJECT}/data/state.db"


def test_another_base_url_and_credentials_are_all_that_a_real_company_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INTACCT_BASE_URL", "https://api.intacct.com/ia/api/v1")
    monkeypatch.setenv("INTACCT_CLIENT_ID", "1f.app.sage.com")
    monkeypatch.setenv("INTACCT_CLIENT_SECRET", "real")
    settings = load_settings(PROJECT / "intacct.yaml")
    assert not settings.is_sandbox
    assert settings.base_url == "https://api.intacct.com/ia/api/v1"
    assert settings.auth.secret_variable == "INTACCT_CLIENT_SECRET"


def test_defaults_are_the_careful_ones() -> None:
    settings = read(BASE)
    assert not settings.posting.enabled
    assert settings.auth.grant == "client_credentials"
    assert settings.base_url == "http://127.0.0.1:8765/ia/api/v1"
    assert settings.start_date == date(2026, 1, 1)
    assert settings.end_date is None


def test_masters_take_what_is_older_than_the_first_partition_and_transactions_do_not() -> None:
    invoice, account = read(BASE).objects
    assert not invoice.takes_older
    assert account.takes_older


def test_the_secret_is_in_no_representation() -> None:
    assert "s3cret" not in repr(read(BASE))
    assert read(BASE).auth.client_secret == "s3cret"


def test_the_secret_of_a_real_company_may_not_stand_in_the_file() -> None:
    text = BASE.replace("http://127.0.0.1:8765", "https://api.intacct.com")
    assert "INTACCT" not in str(read(text))
    (line,) = errors(text.replace("${SECRET:-s3cret}", "s3cret"))
    assert "auth.client_secret of a real company comes from the environment" in line


def test_a_variable_that_is_not_set_is_named_with_its_line() -> None:
    assert errors(BASE.replace("${SECRET:-s3cret}", "${ACME_SECRET}")) == [
        (
            f"{FILE}:5: auth.client_secret needs the environment variable ACME_SECRET, "
            "which is not set: export it, or put it in .env"
        )
    ]


def test_all_errors_are_told_at_once_each_with_its_line() -> None:
    text = BASE.replace("company: acme", "compny: acme").replace("user: usa", "usr: usa")
    assert errors(text.replace("2026-01-01", "2026-13-01")) == [
        f"{FILE}:1: company is missing",
        f"{FILE}:1: compny is not a key that is known here: did you mean 'company'?",
        f"{FILE}:7: entities[0].user is missing",
        f"{FILE}:7: entities[0].usr is not a key that is known here: did you mean 'user'?",
        (
            f"{FILE}:8: start_date: input should be a valid date or datetime, "
            "month value is outside expected range of 1-12"
        ),
    ]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("auth:", "auth: [", ":5: this is not YAML"),
        ("company: acme", "company: acme\ncompany: other", ":2: company is given twice"),
        ("E110", "E1|10", ":7: entities[0].id: an entity id with '|'"),
        ("{id: E110, user: usa}", "{id: A, user: b}\n  - {id: A, user: c}", "entities: A is given"),
        ("  - {id: E110, user: usa}", "  []", ":6: entities needs at least one"),
        ("accounts-receivable/invoice", "invoice", ":10: objects[0].name: 'invoice' is not an"),
        ("start_date", "end_date: 2025-12-31\nstart_date", "end_date 2025-12-31 is before"),
        (
            "http://127.0.0.1:8765/ia/api/v1/",
            "api.intacct.com",
            ":2: base_url: 'api.intacct.com' ",
        ),
        ("client_id: app", "client_id: ''", ":4: auth.client_id: string should have at least"),
        ("client_id: app", "client_id: app\n  grant: password", ":5: auth.grant: input should be"),
    ],
)
def test_a_mistake_is_told_with_its_line(before: str, after: str, told: str) -> None:
    (line,) = errors(BASE.replace(before, after, 1))
    assert told in line


def test_one_user_cannot_consent_for_two_entities() -> None:
    text = BASE.replace("  - {id: E110, user: usa}", "  - {id: A, user: u}\n  - {id: B, user: u}")
    assert read(text).users == {"A": "u", "B": "u"}
    (line,) = errors(text.replace("client_id: app", "client_id: app\n  grant: authorization_code"))
    assert "user u is given for A and B" in line
    assert "client_credentials" in line


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("sales:", "Sales Invoices:", "feed 'Sales Invoices': a name is lower case"),
        ("object: accounts-receivable/", "object: accounts-payable/", "is not among the objects"),
        ("{referenceNumber: ref,", "{referenceNumber: other,", "payload.referenceNumber must be"),
        ("{txnAmount: amount}", "{txnAmount: 3}", "payload.lines.txnAmount must name a column"),
        ("file", "fils", "feeds.sales.filss is not a key"),
        ("    date", "    after: [customers]\n    date", "after 'customers', which is no feed"),
        ("    date", "    after: [sales]\n    date", "wait for each other: sales after sales"),
    ],
)
def test_a_feed_that_could_not_work_is_refused(before: str, after: str, told: str) -> None:
    assert read(BASE + FEED).feeds["sales"].files == ("sales/*.csv",)
    assert any(told in line for line in errors(BASE + FEED.replace(before, after, 1)))


EXPRESSIONS = """\
feeds:
  sales:
    files: sales/*.csv
    object: accounts-receivable/invoice
    source_id: ref
    entity: entity
    date: day
    columns:
      entity: {value: E110}
      day: {sql: "CAST(substr(_file, 7, 10) AS DATE)"}
      customer: text
    match_on: referenceNumber
    payload:
      referenceNumber: ref
      customer.id: {sql: "upper(customer)"}
      lines:
        txnAmount: amount
"""


def test_expressions_are_columns_with_the_types_that_they_have() -> None:
    spec = read(BASE + EXPRESSIONS).feeds["sales"].spec("sales")
    assert spec.source_columns == ("ref", "amount", "customer")
    computed = {name: spec.kind(name) for name in spec.columns if name not in spec.source_columns}
    assert computed == {"entity": "text", "day": "date", "payload.customer.id": "text"}
    assert "payload.customer.id" in spec.header_columns


@pytest.mark.parametrize(
    ("before", "after", "line", "told"),
    [
        ("upper(customer)", "upper(custmer)", 26, "there is no column custmer; the feed names ref"),
        ("upper(customer)", "upper(customer", 26, "payload.customer.id.sql: 'upper(customer' can"),
        ("upper(customer)", "(SELECT 1)", 26, "a subquery cannot stand in it"),
        ("upper(customer)", "max(customer)", 26, "max() cannot stand in it"),
        ("upper(customer)", "customer || now()", 26, "now() cannot stand in it"),
        ("upper(customer)", "customer) AS x, (ref", 26, "it is not one expression"),
        ("upper(customer)", "length(customer) / 2", 26, "gives a DOUBLE"),
        ("substr(_file", "substr(_fil", 21, "feeds.sales.columns.day: 'CAST(substr(_fil"),
        ("CAST(substr(_file, 7, 10) AS DATE)", "_file", 13, "its date must be a date"),
        ("customer: text", "customer: txt", 22, "columns.customer.type: input should be 'text'"),
        ("{value: E110}", "{}", 20, "feeds.sales.columns.entity: say its type, or {sql: …}"),
        ("files: sales/*.csv", "sql: DROP TABLE x", 14, "feeds.sales.sql: it is not a query"),
        ("files: sales/*.csv", "sql: SELECT 1; SELECT 2", 14, "more than one statement"),
        ("    files: sales/*.csv", "    csv: {}", 13, "feeds.sales: it names no files"),
        ("files: sales/*.csv", "files: a\n    csv: {encoding: utf9}", 15, "'utf9' is no encoding"),
        ("files: sales/*.csv", "files: a\n    csv: {encoding: hex}", 15, "'hex' is no encoding"),
        ("files: sales/*.csv", 'files: a\n    csv: {dates: "%d.%m.%y"}', 15, "does not say year"),
        ("files: sales/*.csv", "files: a\n    csv: {decimel: x}", 15, "did you mean 'decimal'?"),
        ("txnAmount: amount", "txnAmount: {}", 28, "payload.lines.txnAmount must name a column"),
        ("txnAmount: amount", "txnAmount: {value: .nan}", 28, "lines.txnAmount.value is no value"),
        ("lines:", "lines: {each: {a: b}, were: c}\n      x:", 27, "mixes `each` with other keys"),
        ("lines:", "lines: {each: {a: b}, where: ref}\n      x:", 27, "`where` is no condition"),
    ],
)
def test_what_a_feed_cannot_compute_is_told_with_file_line_and_key(
    before: str, after: str, line: int, told: str
) -> None:
    assert before in EXPRESSIONS
    found = errors(BASE + EXPRESSIONS.replace(before, after, 1))
    assert any(each.startswith(f"{FILE}:{line}: ") and told in each for each in found), found


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_settings(tmp_path / "intacct.yaml")


SCHEDULES = """\
schedules:
  nightly: 23:30
  maintenance: [sat 20:00 - sun 02:00]
  time_zone: America/New_York
"""


def test_times_are_read_as_they_are_written_and_nothing_runs_by_itself_unless_it_is_said() -> None:
    schedules = read(BASE + SCHEDULES).schedules
    assert not schedules.running
    assert schedules.nightly == "23:30"
    assert timetable.daily(schedules.nightly) == "30 23 * * *"
    assert timetable.weekly(schedules.weekly_sweep) == "0 4 * * 0"
    assert timetable.monthly(schedules.monthly_closing) == "0 6 3 * *"


@pytest.mark.parametrize(
    ("at", "inside"),
    [
        ("2026-10-17T19:59-04:00", False),
        ("2026-10-18T00:00+00:00", True),  # sat 20:00 in New York
        ("2026-10-18T01:59-04:00", True),
        ("2026-10-18T02:00-04:00", False),
    ],
)
def test_a_window_of_maintenance_may_span_the_end_of_a_week(at: str, inside: bool) -> None:
    window = "sat 20:00 - sun 02:00"
    found = read(BASE + SCHEDULES).schedules.maintenance_at(datetime.fromisoformat(at))
    assert found == (window if inside else None)


def test_a_window_of_maintenance_may_begin_in_one_week_and_end_in_the_next() -> None:
    over = timetable.window("sun 20:00 - mon 02:00")
    monday = datetime(2026, 10, 19, tzinfo=UTC)
    hours = [hour for hour in range(-6, 6) if over.holds(monday + timedelta(hours=hour), UTC)]
    assert hours == [-4, -3, -2, -1, 0, 1]


def test_a_time_that_is_none_is_told_with_its_line() -> None:
    wrong = {
        "nightly: 23:30": "nightly: 25:00",
        "sat 20:00 - sun 02:00": "saturday night",
        "America/New_York": "Gotham",
    }
    text = SCHEDULES
    for right, mistaken in wrong.items():
        text = text.replace(right, mistaken)
    assert errors(BASE + text + "  watch: [general-ledger/acount]\n") == [
        f"{FILE}:13: schedules.nightly: '25:00' is not a time of day such as 02:00",
        (
            f"{FILE}:14: schedules.maintenance: 'saturday night' is not a window such as "
            "sat 20:00 - sun 02:00"
        ),
        f"{FILE}:15: schedules.time_zone: 'Gotham' is not a time zone such as Europe/London",
    ]
    (told,) = errors(BASE + SCHEDULES + "  watch: [general-ledger/acount]\n")
    assert "schedules.watch: general-ledger/acount is not among the objects" in told


def test_a_retired_entity_stays_and_is_not_active() -> None:
    text = BASE.replace("{id: E110, user: usa}", "{id: E110, user: usa, retired: true}")
    settings = read(text.replace("start_date", "  - {id: E120, user: can}\nstart_date"))
    assert settings.users.keys() == {"E110", "E120"}
    assert settings.active == ("E120",)


@pytest.mark.parametrize(
    "id",
    [
        "E[1",
        "E]1",
        "E,1",
        "E|1",
        "E\\t1",
        "E\\n1",
        "E\\x7f",
        "E\\01",
        "E...1",
        "...",
        "E*",
        '\\"E1',
    ],
)
def test_an_entity_id_that_dagster_or_a_header_cannot_carry_is_refused(id: str) -> None:
    (line,) = errors(BASE.replace("id: E110", f'id: "{id}"'))
    assert line.startswith(f"{FILE}:7: entities[0].id: an entity id with '")
    assert "cannot name a partition, or be sent to Intacct: use its id there" in line


@pytest.mark.parametrize(
    "id", ["Ünïté", "北京", "é", "e\u0301", "😀", "E\u00a01", "E\u200b1", "E\u0661"]
)
def test_an_entity_id_of_other_letters_than_ascii_is_refused(id: str) -> None:
    (line,) = errors(BASE.replace("id: E110", f'id: "{id}"'))
    assert line.startswith(f"{FILE}:7: entities[0].id: an entity id with '\\")


@pytest.mark.parametrize(
    ("id", "text"),
    [("110", "110"), ("NO", "NO"), ("2026-10-01", "2026-10-01"), ("0110", "0110"), ("1.5", "1.5")],
)
def test_an_entity_id_that_is_no_text_in_yaml_is_refused_and_quotes_help(
    id: str, text: str
) -> None:
    (line,) = errors(BASE.replace("id: E110", f"id: {id}"))
    assert line == (
        f"{FILE}:7: entities[0].id is a number, a date or true/false in YAML: put it in quotes"
    )
    assert read(BASE.replace("id: E110", f'id: "{id}"')).active == (text,)


@pytest.mark.parametrize("id", ["  E110 ", "E110\\t", "\\nE110"])
def test_blanks_around_an_entity_id_are_left_out(id: str) -> None:
    assert read(BASE.replace("id: E110", f'id: "{id}"')).active == ("E110",)


MORE = "  - {id: E120, user: can}\nstart_date"


@pytest.mark.parametrize(
    ("before", "after", "line", "told"),
    [
        (
            "  - {name",
            "  - Accounts-Receivable\n  - {name",
            11,
            "objects[1].name: 'Accounts-Receivable' is not an object name",
        ),
        (
            "  - {name",
            "  - accounts-receivable/Invoice\n  - {name",
            11,
            (
                "accounts-receivable/invoice and accounts-receivable/Invoice would both be the "
                "table accounts_receivable_invoice: leave one out"
            ),
        ),
        (
            "  - {name",
            "  - general-ledger/account-history\n  - {name",
            12,
            (
                "the history of general-ledger/account would be general_ledger_account_history, "
                "which is the table of general-ledger/account-history: leave one out"
            ),
        ),
        (
            "id, name]}",
            "id, name]}\n  - general-ledger/account-history",
            12,
            (
                "general-ledger/account-history would be the table general_ledger_account_history, "
                "which is the history of general-ledger/account: leave one out"
            ),
        ),
        ("id, name]}", "id]}\n  - general-ledger/account", 12, "general-ledger/account is given"),
        ("start_date", MORE.replace("E120", "e110"), 8, "E110 and e110 differ only in case"),
        ("start_date", MORE.replace("E120", "E110"), 8, "entities: E110 is given more than once"),
        ("start_date", MORE.replace("can", "can, was: E110"), 8, "which is the id of an entity"),
        ("start_date", MORE.replace("can", "can, was: e110"), 8, "which is the id of an entity"),
        ("usa}", "usa, was: E110}", 7, "which is the id of an entity"),
        (
            "  - {id: E110, user: usa}",
            "  - {id: E110, user: usa, was: OLD}\n  - {id: E120, user: can, was: old}",
            8,
            "two entities were old",
        ),
        ("acme", '"ac\\tme"', 1, r"company: it has '\t'"),
        ("acme", '"ac\\0me"', 1, r"company: it has '\x00'"),
        ("acme", '"ac\\x85me"', 1, r"company: it has '\x85'"),
        ("user: usa", 'user: "us\\ta"', 7, r"entities[0].user: it has '\t'"),
        ("user: usa", 'user: "us\\na"', 7, r"entities[0].user: it has '\n'"),
        ("user: usa", 'user: "us\\u200ba"', 7, r"entities[0].user: it has '\u200b'"),
        ("user: usa", 'user: "us\\u00a0a"', 7, r"entities[0].user: it has '\xa0'"),
        ("usa}", 'usa, was: "E\\t1"}', 7, r"entities[0].was: it has '\t'"),
        ("client_id: app", 'client_id: "a\\tp"', 4, r"auth.client_id: it has '\t'"),
        ("start_date: 2026-01-01", "start_date: 2026-01-01\nend_date: 2025-01-01", 9, "end_date"),
    ],
)
def test_what_is_wrong_with_two_keys_together_is_told_with_a_line_of_them(
    before: str, after: str, line: int, told: str
) -> None:
    (error,) = errors(BASE.replace(before, after, 1))
    assert error.startswith(f"{FILE}:{line}: ")
    assert told in error


def test_a_users_second_consent_is_told_at_the_second_entity() -> None:
    text = BASE.replace("start_date", "  - {id: E120, user: usa}\nstart_date")
    (error,) = errors(text.replace("client_id: app", "client_id: app\n  grant: authorization_code"))
    assert error.startswith(f"{FILE}:9: entities: user usa is given for E110 and E120")


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("sales:", "Sales:", 13),
        ("object: accounts-receivable/", "object: accounts-payable/", 15),
        ("{referenceNumber: ref,", "{referenceNumber: other,", 21),
        ("    date", "    after: [customers]\n    date", 19),
        ("    date", "    after: [sales]\n    date", 19),
    ],
)
def test_what_is_wrong_with_a_feed_is_told_with_the_line(
    before: str, after: str, line: int
) -> None:
    assert any(
        each.startswith(f"{FILE}:{line}: ") for each in errors((BASE + FEED).replace(before, after))
    )


def test_an_entity_may_be_renamed_so_that_only_the_case_changes() -> None:
    settings = read(BASE.replace("user: usa", "user: usa, was: e110"))
    assert settings.entities[0].was == "e110"


@pytest.mark.parametrize("path", ["key", "entity.id", "audit.modifiedDateTime"])
@pytest.mark.parametrize("said", ["exclude: [{}]", "types: {{{}: text}}"])
def test_what_distinguishes_rows_is_read_as_it_is(path: str, said: str) -> None:
    changed = BASE.replace("fields: [id, name]", said.format(path))
    (line,) = errors(changed)
    assert line.startswith(f"{FILE}:11: objects[1]: general-ledger/account: {path} is always read")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("time_zone: Pacific", "xml.time_zone: 'Pacific' is not a time zone such as Europe/London"),
        ("time_zone: Europe/Paris, utc_offset: '+01:00'", "`utc_offset` and `time_zone` say the"),
        ("utc_offset: 'PST'", "xml.utc_offset: string should match pattern"),
    ],
)
def test_a_time_zone_of_the_xml_api_that_cannot_be_meant(said: str, told: str) -> None:
    xml = f"xml: {{sender_id: me, sender_password: ${{SECRET:-s3cret}}, {said}}}\n"
    (line,) = errors(BASE + xml.replace("${SECRET:-s3cret}", "s3cret"))
    assert f"{FILE}:12: " in line
    assert told in line


def test_the_xml_api_is_read_in_a_time_zone() -> None:
    zone = "time_zone: America/Los_Angeles"
    settings = read(BASE + f"xml: {{sender_id: me, sender_password: s3cret, {zone}}}\n")
    assert settings.xml_access is not None
    assert str(settings.xml_access.zone) == "America/Los_Angeles"


@pytest.mark.parametrize("path", ["/", "''", ".", "..", "data/.."])
def test_a_warehouse_that_is_no_file_is_refused(path: str) -> None:
    (line,) = errors(BASE + f"warehouse: {path}\n")
    assert line.startswith(f"{FILE}:12: warehouse: '")
    assert "is a folder: name a file" in line


def test_a_page_has_two_rows_at_least() -> None:
    assert errors(BASE + "limits: {page_size: 1}\n") == [
        f"{FILE}:12: limits.page_size: input should be greater than or equal to 2"
    ]
    assert read(BASE + "limits: {page_size: 2}\n").limits.page_size == 2


TODAY = datetime.now(UTC).date()


@pytest.mark.parametrize(
    ("start", "offset", "usable"),
    [
        (date(2031, 1, 1), 0, False),
        (TODAY + timedelta(days=2), 1, False),
        (TODAY - timedelta(days=2), 0, True),
        (TODAY - timedelta(days=2), 1, True),
    ],
)
def test_a_company_without_a_partition_is_refused(start: date, offset: int, usable: bool) -> None:
    text = BASE.replace("2026-01-01", f"{start}\nend_offset: {offset}")
    if usable:
        assert read(text).start_date == start
        return
    (line,) = errors(text)
    assert line.startswith(f"{FILE}:8: start_date: there is no partition yet, because {start} is")


def test_entities_that_are_all_retired_are_refused() -> None:
    text = BASE.replace("{id: E110, user: usa}", "{id: E110, user: usa, retired: true}")
    (line,) = errors(text)
    assert line.startswith(f"{FILE}:6: entities: all of them are retired")


def test_a_secret_in_place_of_a_variables_name_is_refused_and_not_repeated() -> None:
    text = """\
notifications:
  - slack: https://hooks.example/T0/s3cr3t
  - email: {host: mail.example, sender: a@example, to: [b@example], user: SMTP_USER}
  - {http: ALERTS_URL, slack: ALERTS_SLACK_URL}
"""
    told = errors(BASE + text)
    assert [each.partition(": ")[0] for each in told] == [f"{FILE}:{line}" for line in (13, 14, 15)]
    assert "not the name of an environment variable" in told[0]
    assert "s3cr3t" not in told[0]
    assert "`user` and `password` belong together" in told[1]
    assert "say one of slack, http and email" in told[2]


XML = """\
xml: {sender_id: acme-sender, sender_password: "${SENDER:-s3nder}"}
"""
DETAIL = BASE.replace("objects:", "objects:\n  - xml/gl-detail")


def test_an_object_of_the_xml_api_needs_a_sender_and_is_told_which() -> None:
    assert "xml/gl-detail" in DETAIL
    (line,) = errors(DETAIL)
    assert "xml/gl-detail is read through the XML API, which needs `xml:" in line
    (line,) = errors(DETAIL.replace("gl-detail", "gl-details") + XML)
    assert "Did you mean xml/gl-detail" in line
    access = read(DETAIL + XML).xml_access
    assert access is not None
    assert access.url == "http://127.0.0.1:8765/ia/xml/xmlgw.phtml"


def test_what_has_no_change_times_cannot_be_watched() -> None:
    text = DETAIL.replace("gl-detail", "gl-account-balance") + XML
    (line,) = errors(f"{text}schedules: {{watch: [xml/gl-account-balance]}}\n")
    assert "xml/gl-account-balance has no change times" in line


def test_the_senders_password_is_kept_like_the_secret() -> None:
    settings = read(DETAIL + XML)
    assert "s3nder" not in repr(settings) + str(settings) + repr(settings.xml_access)
    assert settings.xml is not None
    assert settings.xml.secret_variable == "SENDER"
    real = (DETAIL + XML).replace("http://127.0.0.1:8765", "https://api.intacct.com")
    assert read(real).xml_access is not None
    (line,) = errors(real.replace("${SENDER:-s3nder}", "s3nder"))
    assert "xml.sender_password of a real company comes from the environment" in line
    (line,) = errors((DETAIL + XML).replace("sender_id:", "sendr_id:"))[1:] or [""]
    assert "did you mean 'sender_id'" in line
