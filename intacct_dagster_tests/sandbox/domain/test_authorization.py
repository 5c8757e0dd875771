from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from intacct_dagster_tests.sandbox.caller import CLIENT, Caller, calling
from intacct_sandbox import CLIENT_SECRET, Clock

_REDIRECT = "http://127.0.0.1:9/back"


def _token(caller: Caller, **asked: str) -> Any:
    return caller.call("POST", "/oauth2/token", data={**CLIENT, **asked})


def _works(caller: Caller, access: str) -> bool:
    headers = {"Authorization": f"Bearer {access}"}
    return bool(caller.call("GET", "/services/core/model", headers=headers).status_code == 200)


def _consent(caller: Caller, user: str = "usa", **more: str) -> dict[str, list[str]]:
    asked = {
        "response_type": "code",
        "client_id": CLIENT["client_id"],
        "redirect_uri": _REDIRECT,
        "state": "s & 1",
        "scope": "offline_access",
        **more,
    }
    form = {**asked, "user": user, "decision": more.get("decision", "allow")}
    response = caller.call("POST", "/oauth2/authorize", data=form)
    assert response.status_code == 302, response.text
    assert response.headers["location"].startswith(_REDIRECT)
    return parse_qs(urlsplit(response.headers["location"]).query)


def _exchange(caller: Caller, code: str, **more: str) -> Any:
    asked = {"grant_type": "authorization_code", "code": code, "redirect_uri": _REDIRECT}
    return _token(caller, **{**asked, **more})


@pytest.mark.parametrize("how", ["data", "json"])
def test_client_credentials_give_the_four_recorded_fields(caller: Caller, how: str) -> None:
    asked = {**CLIENT, "grant_type": "client_credentials", "username": "usa@demo|E110"}
    given: dict[str, Any] = {how: asked}
    response = caller.call("POST", "/oauth2/token", **given)
    assert response.status_code == 200
    answer = response.json()
    assert list(answer) == ["token_type", "access_token", "refresh_token", "expires_in"]
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 43200)
    assert answer["access_token"].count(".") == 2
    assert _works(caller, answer["access_token"])


def test_the_client_may_say_who_it_is_by_http_basic(caller: Caller) -> None:
    pair = f"{CLIENT['client_id']}:{CLIENT_SECRET}".encode()
    response = caller.call(
        "POST",
        "/oauth2/token",
        headers={"Authorization": f"Basic {base64.b64encode(pair).decode()}"},
        data={"grant_type": "client_credentials", "username": "usa@demo"},
    )
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        ({"client_secret": "wrong"}, 401, "REST-1216"),
        ({"client_id": "other.app.sage.com"}, 401, "REST-1216"),
        ({"client_id": ""}, 400, "GW-0037"),
        ({"grant_type": "password"}, 400, "GW-0032"),
        ({"username": ""}, 400, "GW-0036"),
        ({"grant_type": "refresh_token"}, 400, "GW-0015"),
        ({"grant_type": "authorization_code"}, 400, "Missing code Attribute"),
        ({"username": "usa"}, 400, "expected user@company"),
        ({"username": "USA@demo"}, 401, "is not known"),
        ({"username": "usa@other"}, 401, "is not known"),
        ({"username": "usa@demo|E120"}, 403, "does not have access to the entity E120"),
        ({"username": "usa@demo|E999"}, 400, "The entity E999 does not exist"),
    ],
)
def test_a_wrong_token_request_is_rejected_with_the_reason(
    caller: Caller, asked: dict[str, str], status: int, text: str
) -> None:
    right = {"grant_type": "client_credentials", "username": "usa@demo"}
    response = _token(caller, **{**right, **asked})
    assert response.status_code == status
    assert text in response.text
    assert CLIENT_SECRET not in response.text


def test_an_attribute_given_twice_and_an_empty_body_are_rejected(caller: Caller) -> None:
    twice = caller.call(
        "POST",
        "/oauth2/token",
        content=b"grant_type=client_credentials&client_id=a&client_id=b",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert (twice.status_code, twice.json()["ia::error"]["code"]) == (400, "GW-0038")
    for names, error_id in (("username=a&username=b", "GW-0039"), ("code=a&code=b", "GW-0032")):
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        again = caller.call("POST", "/oauth2/token", content=names.encode(), headers=form)
        assert again.json()["ia::error"]["code"] == error_id
    empty = caller.call("POST", "/oauth2/token")
    assert (empty.status_code, empty.json()["ia::error"]["code"]) == (400, "GW-0035")


@pytest.mark.parametrize(
    ("header", "error_id"),
    [
        (None, "GW-0034"),
        ("Basic abc", "GW-0034"),
        ("Bearer", "GW-0034"),
        ("Bearer nonsense", "GW-0031"),
    ],
)
def test_a_request_without_a_proper_token_is_turned_away_at_the_gateway(
    caller: Caller, header: str | None, error_id: str
) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = caller.call("GET", "/services/core/model", headers=headers)
    assert response.status_code == 401
    # The documented shape: the id is the code, and details are an object.
    (error,) = response.json().values()
    assert list(error) == ["code", "message", "details"]
    assert error["code"] == error_id
    assert list(error["details"]) == ["requestId"]


def test_a_token_with_other_claims_than_were_signed_is_dead(caller: Caller) -> None:
    head, claims, signature = caller.token("usa@demo").split(".")
    other = caller.token("top@demo").split(".")[1]
    assert other != claims
    headers = {"Authorization": f"Bearer {head}.{other}.{signature}"}
    response = caller.call("GET", "/services/core/model", headers=headers)
    assert (response.status_code, response.json()["error"]["errorId"]) == (401, "REST-2102")


def test_an_access_token_expires_after_twelve_hours() -> None:
    clock = Clock.stopped()
    with calling(clock=clock) as caller:
        access = caller.token("usa@demo")
        clock.advance(timedelta(hours=12, seconds=-1))
        assert _works(caller, access)
        clock.advance(timedelta(seconds=1))
        headers = {"Authorization": f"Bearer {access}"}
        response = caller.call("GET", "/services/core/model", headers=headers)
        assert (response.status_code, response.json()["ia::error"]["code"]) == (401, "GW-0040")


def test_a_refresh_token_counts_once_and_its_successor_then(caller: Caller) -> None:
    first = caller.log_in("usa@demo")
    asked = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = _token(caller, **asked)
    assert second.status_code == 200
    assert second.json()["refresh_token"] != first["refresh_token"]
    again = _token(caller, **asked)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    third = _token(caller, grant_type="refresh_token", refresh_token=second.json()["refresh_token"])
    assert third.status_code == 200
    # The access tokens live on until they expire.
    assert _works(caller, first["access_token"])


def test_a_refresh_may_bind_the_token_to_an_entity_the_user_may_enter(caller: Caller) -> None:
    def refresh(entity: str) -> Any:
        token = caller.log_in("top@demo")["refresh_token"]
        return _token(caller, grant_type="refresh_token", refresh_token=token, entity_id=entity)

    access = refresh("E120").json()["access_token"]
    headers = {"Authorization": f"Bearer {access}"}
    query = {"object": "accounts-receivable/invoice", "fields": ["entity.id"], "size": 1}
    response = caller.call("POST", "/services/core/query", headers=headers, json=query)
    assert response.json()["ia::result"][0]["entity.id"] == "E120"
    assert refresh("E999").status_code == 400


def test_consent_leads_to_a_code_and_the_code_to_a_token_once(caller: Caller) -> None:
    back = _consent(caller)
    assert back["state"] == ["s & 1"]
    first = _exchange(caller, back["code"][0])
    assert first.status_code == 200
    assert _works(caller, first.json()["access_token"])
    again = _exchange(caller, back["code"][0])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


def test_without_offline_access_there_is_no_refresh_token(caller: Caller) -> None:
    code = _consent(caller, scope="")["code"][0]
    assert "refresh_token" not in _exchange(caller, code).json()


def test_the_redirect_uri_of_the_exchange_must_be_that_of_the_consent(caller: Caller) -> None:
    code = _consent(caller)["code"][0]
    response = _exchange(caller, code, redirect_uri="http://127.0.0.1:9/elsewhere")
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert _exchange(caller, code).status_code == 400


def test_a_code_is_dead_after_ten_minutes() -> None:
    clock = Clock.stopped()
    with calling(clock=clock) as caller:
        code = _consent(caller)["code"][0]
        clock.advance(timedelta(minutes=10))
        assert _exchange(caller, code).status_code == 400


def test_a_rejected_consent_is_reported_to_the_application(caller: Caller) -> None:
    assert _consent(caller, decision="deny")["error"] == ["access_denied"]


@pytest.mark.parametrize("method", ["S256", "plain"])
def test_pkce_is_checked_when_it_is_used(caller: Caller, method: str) -> None:
    verifier = "v" * 50
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    asked = {
        "code_challenge": challenge if method == "S256" else verifier,
        "code_challenge_method": method,
    }
    for sent in ("", "w" * 50):
        code = _consent(caller, **asked)["code"][0]
        assert _exchange(caller, code, code_verifier=sent).status_code == 400
    code = _consent(caller, **asked)["code"][0]
    assert _exchange(caller, code, code_verifier=verifier).status_code == 200


def test_a_public_client_needs_no_secret_where_pkce_proves_it(caller: Caller) -> None:
    public = {"client_id": CLIENT["client_id"]}
    challenge = {"code_challenge": "v" * 50, "code_challenge_method": "plain"}

    def ask(**asked: str) -> Any:
        return caller.call("POST", "/oauth2/token", data={**public, **asked})

    def exchange(code: str, **more: str) -> Any:
        asked = {"grant_type": "authorization_code", "code": code, "redirect_uri": _REDIRECT}
        return ask(**asked, **more)

    without = _consent(caller)["code"][0]
    assert exchange(without).status_code == 401
    code = _consent(caller, **challenge)["code"][0]
    first = exchange(code, code_verifier="v" * 50)
    assert first.status_code == 200
    asked = {"grant_type": "refresh_token", "refresh_token": first.json()["refresh_token"]}
    assert ask(**asked, client_secret="wrong").status_code == 401
    assert ask(**asked).status_code == 200
    secret = caller.log_in("usa@demo")["refresh_token"]
    assert ask(grant_type="refresh_token", refresh_token=secret).status_code == 401


def test_a_session_id_of_the_xml_api_logs_in_for_six_hours() -> None:
    clock = Clock.stopped()
    with calling(clock=clock) as caller:
        got = caller.call("GET", "/services/core/session/id", user="top@demo|E120").json()
        asked = {
            "grant_type": "client_credentials",
            "session_id": got["ia::result"]["sessionId"],
        }
        access = _token(caller, **asked).json()["access_token"]
        headers = {"Authorization": f"Bearer {access}"}
        query = {"object": "accounts-receivable/invoice", "fields": ["entity.id"], "size": 1}
        answer = caller.call("POST", "/services/core/query", headers=headers, json=query)
        assert answer.json()["ia::result"][0]["entity.id"] == "E120"
        clock.advance(timedelta(hours=6))
        dead = _token(caller, **asked)
        assert (dead.status_code, dead.json()["error"]["errorId"]) == (401, "SBX-0402")


def test_a_token_can_be_asked_what_it_is(caller: Caller) -> None:
    tokens = caller.log_in("top@demo|E120")
    pair = f"{CLIENT['client_id']}:{CLIENT_SECRET}".encode()
    for header in (
        f"Bearer {tokens['access_token']}",
        f"Basic {base64.b64encode(pair).decode()}",
    ):
        asked = {"token": tokens["access_token"]}
        headers = {"Authorization": header}
        got = caller.call("POST", "/oauth2/introspect", data=asked, headers=headers).json()
        assert (got["active"], got["user_id"], got["cny_id"]) == (True, "top", "demo")
        assert (got["entity_id"], got["exp"] - got["iat"]) == ("E120", 43200)
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    other = caller.call("POST", "/oauth2/introspect", data={"token": "x"}, headers=headers)
    assert other.json() == {"active": False}
    nobody = caller.call("POST", "/oauth2/introspect", data={"token": "x"})
    assert nobody.json()["ia::error"]["code"] == "GW-0034"


def test_another_endpoint_beside_the_tokens_is_none(caller: Caller) -> None:
    answer = caller.call("POST", "/oauth2/tokens", data=CLIENT)
    assert (answer.status_code, answer.json()["ia::error"]["code"]) == (404, "GW-0033")
    assert caller.call("GET", "/oauth2/token").status_code == 405


def test_a_second_consent_of_a_user_ends_the_first_ones_refresh_token_and_no_others(
    caller: Caller,
) -> None:
    def refresh(token: str) -> int:
        answer = _token(caller, grant_type="refresh_token", refresh_token=token)
        return int(answer.status_code)

    first = _exchange(caller, _consent(caller)["code"][0]).json()["refresh_token"]
    other_user = _exchange(caller, _consent(caller, "can")["code"][0]).json()["refresh_token"]
    logged_in = caller.log_in("usa@demo")["refresh_token"]
    second = _exchange(caller, _consent(caller)["code"][0]).json()["refresh_token"]
    assert refresh(first) == 400
    assert [refresh(one) for one in (other_user, logged_in, second)] == [200, 200, 200]


def test_a_revoke_ends_all_tokens_of_the_user(caller: Caller) -> None:
    first, second = caller.log_in("usa@demo"), caller.log_in("usa@demo")
    other = caller.log_in("can@demo")
    form = {**CLIENT, "token": first["refresh_token"]}
    revoked = caller.call("POST", "/oauth2/revoke", data=form)
    assert (revoked.status_code, revoked.json()) == (200, {"revoked": True})
    assert not _works(caller, first["access_token"])
    assert not _works(caller, second["access_token"])
    assert _works(caller, other["access_token"])
    asked = {"grant_type": "refresh_token", "refresh_token": second["refresh_token"]}
    assert _token(caller, **asked).status_code == 400
    # Not for ever: the user may log in again.
    assert _works(caller, caller.log_in("usa@demo")["access_token"])


def test_the_consent_page_offers_the_users_and_shows_nothing_unescaped(caller: Caller) -> None:
    asked = {
        "response_type": "code",
        "client_id": CLIENT["client_id"],
        "redirect_uri": _REDIRECT,
        "state": '"><script>alert(1)</script>',
    }
    page = caller.call("GET", "/oauth2/authorize", params=asked)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert '<option value="gbr">' in page.text
    assert "<script>" not in page.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": "someone.else"},
        {"response_type": "token"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": ""},
        {"code_challenge_method": "S512"},
    ],
)
def test_a_wrong_authorize_request_is_not_sent_anywhere(
    caller: Caller, wrong: dict[str, str]
) -> None:
    asked = {
        "response_type": "code",
        "client_id": CLIENT["client_id"],
        "redirect_uri": _REDIRECT,
        **wrong,
    }
    for method in ("GET", "POST"):
        response = caller.call(method, "/oauth2/authorize", params=asked)
        assert response.status_code == 400
        assert "location" not in response.headers
