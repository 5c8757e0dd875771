"""Coverage: what is to be had of what a team needs, asked of the sandbox by the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_dagster.cli.coverage import read_needs
from intacct_dagster.client import instead_of, known_names, only_in_xml, rest_name
from intacct_dagster.config import ConfigError
from intacct_dagster_tests.consent import write_project
from intacct_sandbox import RunningSandbox

#: objects of the XML API that are read through its gateway
READ_HERE = ("GLACCOUNTBALANCE", "GLDETAIL")
XML = "xml: {sender_id: sandbox, sender_password: sandbox-sender}\n"


@pytest.fixture
def project(sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("DAGSTER_HOME", "INTACCT_CONFIG", "INTACCT_TOKEN_KEY"):
        monkeypatch.delenv(name, raising=False)
    write_project(tmp_path, sandbox.base_url, grant="client_credentials", port=8766)
    return tmp_path


def covered(folder: Path, needs: str, *options: str) -> dict[str, Any]:
    """What the command says of needs in YAML, with its exit code."""
    (folder / "needs.yaml").write_text(needs, encoding="utf-8")
    result = CliRunner().invoke(main, ["coverage", "needs.yaml", "--json", *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    told: dict[str, Any] = json.loads(result.output)
    assert told["complete"] == (result.exit_code == 0)
    return told


def fields_of(told: dict[str, Any], number: int = 0) -> dict[str, dict[str, Any]]:
    return {each["asked"]: each for each in told["objects"][number]["fields"]}


def test_a_rest_object_is_told_with_what_can_be_done_with_each_field(project: Path) -> None:
    told = covered(
        project,
        "accounts-receivable/invoice: [invoiceNumber, customer.id, audit.modifiedDateTime, lines]",
    )
    (invoice,) = told["objects"]
    assert (invoice["where"], invoice["xml"]) == ("REST", "ARINVOICE")
    assert invoice["reads_as"] == "accounts-receivable/invoice"
    assert invoice["postable"]
    assert invoice["idempotent"]
    fields = fields_of(told)
    how = {name: (each["how"], each["filterable"]) for name, each in fields.items()}
    assert how == {
        "invoiceNumber": ("query", True),
        "customer.id": ("query", True),
        "audit.modifiedDateTime": ("query", True),
        "lines": ("get", None),
    }
    assert {name for name, each in fields.items() if each["postable"]} == {
        "invoiceNumber",
        "customer.id",
        "lines",
    }
    assert 0 < told["transactions"] < 5


def test_xml_names_are_found_in_rest(project: Path) -> None:
    told = covered(project, "GLENTRY: [RECORDNO, ACCOUNTNO, LOCATIONID, TR_TYPE, WHENMODIFIED]")
    (line,) = told["objects"]
    assert (line["where"], line["reads_as"]) == ("REST", "general-ledger/journal-entry-line")
    assert {name: each["path"] for name, each in fields_of(told).items()} == {
        "RECORDNO": "key",
        "ACCOUNTNO": "glAccount.id",
        "LOCATIONID": "dimensions.location.id",
        "TR_TYPE": "txnType",
        "WHENMODIFIED": "audit.modifiedDateTime",
    }
    assert not line["postable"], "lines of entries are written with their entry"


def test_what_only_the_xml_api_has_is_told_and_had_where_a_sender_is_configured(
    project: Path,
) -> None:
    needs = "GLDETAIL: [DEBITAMOUNT, CHILDENTITY]\nGLACCOUNTBALANCE: [ENDBAL]\nGLRESOLVE: []\n"
    without = covered(project, needs)
    assert [each["where"] for each in without["objects"]] == ["XML only"] * 3
    assert [each["there"] for each in without["objects"]] == [False] * 3
    assert "sender_password" in without["objects"][0]["note"]
    with (project / "intacct.yaml").open("a") as file:
        file.write(XML)
    told = covered(project, needs)
    detail, balance, resolve = told["objects"]
    assert (detail["reads_as"], balance["reads_as"]) == ("xml/gl-detail", "xml/gl-account-balance")
    assert (detail["postable"], detail["idempotent"]) == (False, False)
    fields = fields_of(told)
    assert (fields["DEBITAMOUNT"]["path"], fields["DEBITAMOUNT"]["how"]) == ("debitAmount", "query")
    assert fields["CHILDENTITY"]["how"] == "get", "the sandbox has none, as most companies"
    assert fields_of(told, 1)["ENDBAL"]["filterable"] is False
    assert (resolve["where"], resolve["there"]) == ("XML only", False)
    assert "look at xml/gl-detail" in resolve["note"]


def test_what_is_not_there_is_told_with_what_may_have_been_meant(project: Path) -> None:
    told = covered(
        project,
        "accounts-payable/bills: []\nAPBIL: []\naccounts-payable/bill: [bilNumber, zzz]\n",
    )
    bills, bil, bill = told["objects"]
    assert (bills["where"], bil["where"], bill["where"]) == ("unknown", "unknown", "REST")
    assert "accounts-payable/bill" in bills["note"]
    assert "APBILL" in bil["note"]
    fields = fields_of(told, 2)
    assert (fields["bilNumber"]["how"], fields["zzz"]["how"]) == ("unknown", "unknown")
    assert "did you mean billNumber" in fields["bilNumber"]["note"]


def test_fields_that_can_only_be_sent_and_those_that_no_query_gives_differ(
    sandbox: RunningSandbox, project: Path
) -> None:
    sandbox.books.behaviours.choose({"line_audit": "absent"})
    try:
        told = covered(
            project, "accounts-payable/payment: [paymentDate]\naccounts-payable/bill-line: [key]\n"
        )
    finally:
        sandbox.books.behaviours.choose({"line_audit": "present"})
    assert fields_of(told)["paymentDate"]["how"] == "send"
    assert fields_of(told)["paymentDate"]["postable"]
    assert fields_of(told, 1)["key"]["how"] == "query"


def test_the_table_is_for_people_and_the_exit_code_for_scripts(project: Path) -> None:
    (project / "needs.txt").write_text(
        "accounts-receivable/customer id, name  # who\nAPBILL WHENDUE\n", encoding="utf-8"
    )
    shown = CliRunner().invoke(main, ["coverage", "needs.txt"], env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.output
    assert "2 of 2 objects and 3 of 3 fields can be had" in shown.output
    assert "dueDate in REST" in shown.output
    (project / "needs.txt").write_text("accounts-receivable/customer [/nme]\n", encoding="utf-8")
    strange = CliRunner().invoke(main, ["coverage", "needs.txt"], env={"COLUMNS": "160"})
    assert strange.exit_code == 1
    assert "[/nme]" in strange.output
    nobody = CliRunner().invoke(main, ["coverage", "needs.txt", "--entity", "E999"])
    assert nobody.exit_code == 1
    assert "There is no entity E999" in nobody.output


BILL = {"accounts-payable/bill": ["billNumber", "lines"]}


@pytest.mark.parametrize(
    ("name", "text", "needs"),
    [
        ("n.yaml", "accounts-payable/bill: [billNumber, lines]", BILL),
        ("n.yml", "[{name: accounts-payable/bill, fields: [billNumber, lines]}]", BILL),
        (
            "n.yaml",
            "objects: [{name: accounts-payable/bill, fields: [billNumber], get_fields: [lines]}]",
            BILL,
        ),
        ("n.yaml", "- APBILL\n- GLDETAIL\n", {"APBILL": [], "GLDETAIL": []}),
        (
            "n.csv",
            "object,field,why\naccounts-payable/bill,billNumber,x\naccounts-payable/bill,lines,y\n",
            BILL,
        ),
        ("n.csv", "object\nAPBILL\n", {"APBILL": []}),
        ("n.txt", "# ours\naccounts-payable/bill: billNumber, lines\n", BILL),
    ],
)
def test_needs_are_read_in_the_forms_that_teams_keep_them_in(
    tmp_path: Path, name: str, text: str, needs: dict[str, list[str]]
) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    assert read_needs(file) == needs


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n.yaml", "a: [b"),
        ("n.yaml", "7"),
        ("n.yaml", "a: b"),
        ("n.yaml", "[{fields: [a]}]"),
        ("n.csv", "name\nx\n"),
        ("n.txt", "# nothing\n"),
    ],
)
def test_a_file_that_is_no_list_of_needs_is_refused_by_name(
    tmp_path: Path, name: str, text: str
) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=name):
        read_needs(file)


def test_every_rest_name_of_the_table_that_the_sandbox_holds_is_one_and_none_is_there_twice(
    sandbox: RunningSandbox,
) -> None:
    names = [name for xml in known_names() if (name := rest_name(xml)) is not None]
    assert len(names) == len(set(names))
    held = sandbox.books.catalogue
    assert len([name for name in names if name in held]) > 60


def test_no_xml_object_is_called_both_a_rest_object_and_only_in_xml() -> None:
    only = {xml for xml in known_names() if only_in_xml(xml)}
    assert len(known_names()) > 550
    assert {xml for xml in only if rest_name(xml) is not None} == set(READ_HERE)
    assert {xml for xml in known_names() - only if rest_name(xml) is None} == set()
    assert [xml for xml in known_names() - only if instead_of(xml) is not None] == []
