"""The XML gateway of the sandbox: its forms, its functions, its rejections."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from intacct_dagster_tests.client.xml_wire import xml_request
from intacct_dagster_tests.sandbox.caller import Caller

GATEWAY = "/ia/xml/xmlgw.phtml"
USER = "usa@demo|E110"
PERIOD = "October 2026"


def _session(caller: Caller, user: str = USER) -> str:
    answer = caller.call("GET", "/services/core/session/id", user=user).json()
    return str(answer["ia::result"]["sessionId"])


def _send(caller: Caller, body: bytes) -> Any:
    headers = {"Content-Type": "application/xml"}
    return caller.call("POST", GATEWAY, content=body, headers=headers)


def _ask(caller: Caller, function: str, session: str | None = None, **given: str) -> Any:
    """The root of the answer."""
    body = xml_request(session or _session(caller), function, **given)
    return ET.fromstring(_send(caller, body).content)


def _query(*fields: str, more: str = "", object_: str = "GLDETAIL") -> str:
    select = "".join(f"<field>{name}</field>" for name in fields)
    return f"<query><object>{object_}</object><select>{select}</select>{more}</query>"


def _where(operator: str, field: str, *values: str) -> str:
    given = "".join(f"<value>{value}</value>" for value in values)
    return f"<{operator}><field>{field}</field>{given}</{operator}>"


def _balances(period: str, size: int = 1000) -> str:
    return (
        "<readByQuery><object>GLACCOUNTBALANCE</object><fields>*</fields>"
        f"<query>PERIOD = '{period}'</query><pagesize>{size}</pagesize></readByQuery>"
    )


def _error(root: Any) -> tuple[str, str]:
    error = root.find(".//errormessage/error")
    return error.findtext("errorno"), error.findtext("description2")


def test_an_answer_has_control_authentication_and_result(caller: Caller) -> None:
    root = _ask(caller, _query("RECORDNO", "TR_TYPE", more="<pagesize>2</pagesize>"))
    assert root.findtext("control/status") == "success"
    assert root.findtext("operation/authentication/status") == "success"
    assert root.findtext("operation/authentication/userid") == "usa"
    assert root.findtext("operation/authentication/locationid") == "E110"
    assert root.findtext("operation/result/status") == "success"
    assert root.findtext("operation/result/controlid") == "f1"
    data = root.find("operation/result/data")
    assert [child.tag for child in data] == ["GLDETAIL", "GLDETAIL"]
    assert [field.tag for field in data[0]] == ["RECORDNO", "TR_TYPE"]
    got = {name: int(data.get(name)) for name in ("totalcount", "count", "offset", "numremaining")}
    assert got["numremaining"] == got["totalcount"] - 2
    assert (got["count"], got["offset"]) == (2, 0)


def test_filters_orders_and_pages_select_rows_of_gl_detail(caller: Caller) -> None:
    session = _session(caller)

    def keys(more: str) -> list[str]:
        root = _ask(caller, _query("RECORDNO", more=more), session)
        assert root.findtext("operation/result/status") == "success", _error(root)
        return [one.text for one in root.findall(".//GLDETAIL/RECORDNO")]

    order = "<orderby><order><field>RECORDNO</field><descending/></order></orderby>"
    first = keys(f"{order}<pagesize>4</pagesize>")
    assert keys(f"{order}<pagesize>2</pagesize><offset>2</offset>") == first[2:]
    assert first == sorted(first, key=int, reverse=True)
    one_of = _where("in", "RECORDNO", *first[:2])
    assert set(keys(f"<filter>{one_of}</filter>")) == set(first[:2])
    assert keys(f"<filter>{_where('isnull', 'WHENMODIFIED')}</filter>") == []
    day = _where("equalto", "ENTRY_DATE", "10/13/2026")
    early = _where("lessthan", "WHENMODIFIED", "10/13/2026 00:00:00")
    assert keys(f"<filter>{day}</filter>")
    assert keys(f"<filter><and>{day}{early}</and></filter>") == []


def test_get_api_session_moves_into_an_entity_that_the_user_may_enter(caller: Caller) -> None:
    session = _session(caller, "top@demo")
    root = _ask(caller, "<getAPISession><locationid>E130</locationid></getAPISession>", session)
    api = root.find("operation/result/data/api")
    assert api.findtext("locationid") == "E130"
    moved = api.findtext("sessionid")
    seen = _ask(caller, _query("LOCATIONID", "BASECURR"), moved)
    assert {one.text for one in seen.findall(".//BASECURR")} == {"GBP"}
    back = _ask(caller, "<getAPISession><locationid/></getAPISession>", moved)
    assert back.find("operation/result/data/api").findtext("locationid") == ""
    other = "<getAPISession><locationid>E120</locationid></getAPISession>"
    assert _error(_ask(caller, other))[0] == "XL03000006"


def test_the_top_level_sees_private_lines_only_with_showprivate(caller: Caller) -> None:
    session = _session(caller, "top@demo")
    private = "<options><showprivate>true</showprivate></options>"

    def total(more: str) -> int:
        return int(
            _ask(caller, _query("RECORDNO", more=more), session).find(".//data").get("totalcount")
        )

    assert total("") == 0
    assert total(private) > 5000


def test_balances_of_a_period_are_read_in_parts(caller: Caller) -> None:
    session = _session(caller)
    whole = _ask(caller, _balances(PERIOD), session).find(".//data")
    assert whole.get("numremaining") == "0"
    assert all(row.tag == "glaccountbalance" for row in whole)
    for row in whole:
        amounts = {name: float(row.findtext(name)) for name in ("OPENBAL", "FORBAL", "ENDBAL")}
        assert amounts["ENDBAL"] == pytest.approx(amounts["OPENBAL"] + amounts["FORBAL"])
    size = len(whole) // 2 + 1
    part = _ask(caller, _balances(PERIOD, size), session).find(".//data")
    assert part.get("totalcount") == str(len(whole))
    more = f"<readMore><resultId>{part.get('resultId')}</resultId></readMore>"
    rest = _ask(caller, more, session).find(".//data")
    assert (len(part), len(rest), rest.get("numremaining")) == (size, len(whole) - size, "0")
    number, _ = _error(_ask(caller, more, session))
    assert number == "DL02000001"


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (_query("NOTHING"), "Field NOTHING does not exist"),
        (_query("RECORDNO", more=f"<filter>{_where('equalto', 'NO', '1')}</filter>"), "Field NO"),
        (
            _query("RECORDNO", more=f"<filter>{_where('like', 'RECORDNO', '1')}</filter>"),
            "no filter",
        ),
        (_query("RECORDNO", more="<pagesize>2001</pagesize>"), "from 1 to 2000"),
        (_query("RECORDNO", object_="APBILL"), "no object APBILL"),
        (_query(), "at least one field"),
        (_balances("Month 13"), "not a budgetable reporting period"),
        (_balances(PERIOD, 1001), "from 1 to 1000"),
        (_balances(PERIOD).replace("PERIOD =", "BOOKID ="), "PERIOD is required"),
        ("<delete/>", "no function delete"),
    ],
)
def test_a_function_that_cannot_be_fails_alone_and_says_why(
    caller: Caller, function: str, got: str
) -> None:
    root = _ask(caller, function)
    assert root.findtext("control/status") == "success"
    assert root.findtext("operation/authentication/status") == "success"
    assert root.findtext("operation/result/status") == "failure"
    number, said = _error(root)
    assert number == "DL02000001"
    assert got in said
    assert "[Support ID: " in said


def test_a_wrong_sender_a_dead_session_and_no_xml_fail_where_they_are_wrong(caller: Caller) -> None:
    session = _session(caller)
    control = _ask(caller, _query("RECORDNO"), session, password="wrong")
    assert control.findtext("control/status") == "failure"
    assert _error(control)[0] == "XL03000006"
    broken = ET.fromstring(_send(caller, b"<request>").content)
    assert _error(broken)[0] == "XL03000003"
    bomb = _send(caller, b'<!DOCTYPE r [<!ENTITY a "aa">]><request>&a;</request>')
    assert _error(ET.fromstring(bomb.content))[0] == "XL03000003"
    caller.books.advance(timedelta(hours=6))
    dead = _ask(caller, _query("RECORDNO"), session)
    assert dead.findtext("control/status") == "success"
    assert dead.findtext("operation/authentication/status") == "failure"
    assert _error(dead)[0] == "XL03000006"


def test_faults_befall_the_gateway_in_its_own_form(caller: Caller) -> None:
    faults = [{"route": "xml", "object": "GLDETAIL", "times": 1, "answer": {"status": 429}}]
    caller.control("PUT", "faults", faults)
    body = xml_request(_session(caller), _query("RECORDNO"))
    rejected = _send(caller, body)
    assert rejected.status_code == 429
    root = ET.fromstring(rejected.content)
    assert root.findtext("control/status") == "failure"
    assert _error(root)[0] == "GW-0010"
    assert _send(caller, body).status_code == 200


def test_a_page_costs_a_transaction_and_is_recorded_with_its_user(caller: Caller) -> None:
    _ask(caller, _query("RECORDNO", more="<pagesize>7</pagesize>"))
    (asked,) = caller.books.audit_log.asked({"route": "xml"})
    assert (asked.object, asked.user, asked.entity) == ("GLDETAIL", "usa", "E110")
    assert (asked.rows, asked.transactions) == (7, 1)
