"""Sessions: renewed in time, once, saved before they are used."""

from __future__ import annotations

import functools
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from intacct_dagster.client import (
    AccessDenied,
    AuthenticationRefused,
    AuthorizationCode,
    ClientCredentials,
    Intacct,
    IntacctClient,
    NotReached,
    Throttled,
)
from intacct_dagster.client.auth.oauth import Grant
from intacct_dagster.client.auth.tokens import MemoryTokenStore, TokenStore
from intacct_dagster_tests.client.intacct_wire import (
    BASE_URL,
    Reply,
    Wire,
    error_reply,
    page_reply,
    reply,
)

SECRET = "do-not-tell"
CREDENTIALS = ClientCredentials("app.sage.com", SECRET)
CODE = AuthorizationCode("app.sage.com", SECRET, "https://example.test/callback")
BILL = "accounts-payable/bill"


class Clock:
    """Time as a test wants it."""

    def __init__(self) -> None:
        self.time = datetime(2026, 10, 13, 18, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **delta: float) -> None:
        self.time += timedelta(**delta)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def company(
    wire: Wire, clock: Clock, grant: Grant = CREDENTIALS, store: TokenStore | None = None
) -> Intacct:
    users = {"E110": "usa", "E120": "can"}
    return Intacct("demo", BASE_URL, grant, users, tokens=store, transport=wire, now=clock)


def authorized(wire: Wire, clock: Clock, store: TokenStore) -> Intacct:
    intacct = company(wire, clock, CODE, store)
    consent = intacct.ask_consent("E110")
    intacct.exchange_code("E110", consent, code="the-code", state=consent.state)
    return intacct


def bearer(request: httpx.Request) -> str:
    return request.headers["Authorization"].removeprefix("Bearer ")


def test_a_session_is_bound_to_user_company_and_entity_and_every_request_to_the_entity(
    clock: Clock,
) -> None:
    wire = Wire(page_reply([]))
    client = company(wire, clock).entity("E110")
    client.count(BILL)
    client.count(BILL)
    assert wire.token_forms == [
        {
            "grant_type": "client_credentials",
            "client_id": "app.sage.com",
            "client_secret": SECRET,
            "username": "usa@demo|E110",
        }
    ]
    for request in wire.requests:
        assert bearer(request) == "token-1"
        assert request.headers["X-IA-API-Param-Entity"] == "E110"


def test_the_top_level_has_no_entity_and_sees_what_is_private_to_entities(clock: Clock) -> None:
    wire = Wire(page_reply([]))
    company(wire, clock).top_level("top").count(BILL)
    assert wire.token_forms[0]["username"] == "top@demo"
    assert "X-IA-API-Param-Entity" not in wire.requests[0].headers
    assert json.loads(wire.requests[0].content)["filterParameters"] == {"includePrivate": True}


def test_a_token_is_renewed_minutes_before_it_ends(clock: Clock) -> None:
    wire = Wire(page_reply([]))
    client = company(wire, clock).entity("E110")
    client.count(BILL)
    clock.forward(seconds=43200 - 6 * 60 - 1)
    client.count(BILL)
    assert len(wire.token_forms) == 1
    clock.forward(seconds=62)
    client.count(BILL)
    assert len(wire.token_forms) == 2
    assert bearer(wire.requests[-1]) == "token-2"


def test_a_short_lived_token_is_used_for_most_of_its_life(clock: Clock) -> None:
    wire = Wire(page_reply([]))
    wire.expires_in = 60
    client = company(wire, clock).entity("E110")
    client.count(BILL)
    clock.forward(seconds=49)
    client.count(BILL)
    assert len(wire.token_forms) == 1
    clock.forward(seconds=2)
    client.count(BILL)
    assert len(wire.token_forms) == 2


@pytest.mark.parametrize(
    "dead",
    [
        reply(401, "<html>"),
        reply(
            400,
            {"error": {"code": "tokenInvalid", "message": "Token is not valid", "errorId": "x"}},
        ),
        error_reply(400, "REST-1206", "The token is not valid"),
        reply(401, {"ia::error": {"code": "y", "message": "Expired token", "errorId": "GW-0040"}}),
        error_reply(400, "z", "Invalid token"),
    ],
    ids=["401", "REST-2102", "REST-1206", "GW-0040", "text"],
)
def test_a_dead_token_is_replaced_once_and_the_request_repeated(
    clock: Clock, dead: httpx.Response
) -> None:
    wire = Wire(dead, page_reply([], total=3))
    assert company(wire, clock).entity("E110").count(BILL) == 3
    assert [bearer(request) for request in wire.requests] == ["token-1", "token-2"]


def test_a_token_that_stays_dead_is_given_up_after_one_renewal(clock: Clock) -> None:
    wire = Wire(error_reply(401, "REST-2102", "Token is not valid"))
    with pytest.raises(AuthenticationRefused, match="user usa at") as caught:
        company(wire, clock).entity("E110").count(BILL)
    assert len(wire.requests) == 2
    assert caught.value.error_id == "REST-2102"
    assert caught.value.support_id == "Sup%7Eport"


def test_a_business_error_does_not_renew_the_session(clock: Clock) -> None:
    wire = Wire(error_reply(400, "REST-1064", "Payload contains errors"))
    with pytest.raises(Exception, match="Payload contains errors"):
        company(wire, clock).entity("E110").count(BILL)
    assert len(wire.requests) == 1


def test_threads_that_meet_a_dead_token_renew_it_once(clock: Clock) -> None:
    together = threading.Barrier(6, timeout=10)

    def only_the_second_token(request: httpx.Request) -> httpx.Response:
        if bearer(request) == "token-1":
            together.wait()
            return reply(401, "")
        return page_reply([])(request)

    wire = Wire(only_the_second_token)
    client = company(wire, clock).entity("E110")
    threads = [threading.Thread(target=client.count, args=(BILL,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(wire.token_forms) == 2
    assert [bearer(request) for request in wire.requests].count("token-2") == 6


def test_processes_with_one_store_share_one_session(clock: Clock) -> None:
    wire, store = Wire(page_reply([])), MemoryTokenStore()
    company(wire, clock, store=store).entity("E110").count(BILL)
    company(wire, clock, store=store).entity("E110").count(BILL)
    assert len(wire.token_forms) == 1
    company(wire, clock, store=store).entity("E120").count(BILL)
    assert wire.token_forms[1]["username"] == "can@demo|E120"


def test_a_session_renewed_by_another_process_is_taken_over(clock: Clock) -> None:
    store = MemoryTokenStore()
    wire = Wire(reply(401, ""), page_reply([]), page_reply([]))
    first = company(wire, clock, store=store).entity("E110")
    second = company(wire, clock, store=store).entity("E110")
    first.count(BILL)  # token-1 is dead on arrival, token-2 is stored
    second.count(BILL)
    assert [bearer(request) for request in wire.requests] == ["token-1", "token-2", "token-2"]


def test_a_token_never_goes_to_another_host_than_the_one_that_issued_it(clock: Clock) -> None:
    wire, store = Wire(page_reply([])), MemoryTokenStore()
    company(wire, clock, store=store).entity("E110").count(BILL)
    elsewhere = Intacct(
        "demo", "https://other.test/ia/api/v1", CREDENTIALS, {"E110": "usa"}, store, wire, clock
    )
    elsewhere.entity("E110").count(BILL)
    assert [bearer(request) for request in wire.requests] == ["token-1", "token-2"]


def test_a_stored_session_that_cannot_be_read_is_replaced(clock: Clock) -> None:
    class Spoilt(MemoryTokenStore):
        def get(self, name: str) -> bytes | None:
            return b"\xff not JSON"

    wire = Wire(page_reply([]))
    company(wire, clock, store=Spoilt()).entity("E110").count(BILL)
    assert bearer(wire.requests[0]) == "token-1"


def test_no_refresh_token_is_kept_where_none_is_needed(clock: Clock) -> None:
    kept: list[bytes] = []

    class Watched(MemoryTokenStore):
        def put(self, name: str, value: bytes) -> None:
            kept.append(value)
            super().put(name, value)

    company(Wire(page_reply([])), clock, store=Watched()).entity("E110").count(BILL)
    assert len(kept) == 1
    assert b"refresh-1" not in kept[0]


def test_consent_asks_for_a_refresh_token_with_state_and_pkce(clock: Clock) -> None:
    consent = company(Wire(page_reply([])), clock, CODE).ask_consent("E110")
    parts = urlsplit(consent.url)
    asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{BASE_URL}/oauth2/authorize"
    assert asked["scope"] == "offline_access"
    assert asked["state"] == consent.state
    assert asked["code_challenge_method"] == "S256"
    assert consent.verifier not in consent.url
    assert SECRET not in consent.url


def test_a_code_is_swapped_and_then_bound_to_the_entity_by_a_refresh(clock: Clock) -> None:
    wire = Wire(page_reply([]))
    authorized(wire, clock, MemoryTokenStore()).entity("E110").count(BILL)
    code, refresh = wire.token_forms
    assert (code["grant_type"], code["code"]) == ("authorization_code", "the-code")
    assert code["code_verifier"]
    assert (refresh["grant_type"], refresh["entity_id"]) == ("refresh_token", "E110")
    assert refresh["refresh_token"] == "refresh-1"
    assert bearer(wire.requests[0]) == "token-2"


def test_a_consent_that_comes_back_with_another_state_is_refused(clock: Clock) -> None:
    wire = Wire(page_reply([]))
    intacct = company(wire, clock, CODE)
    with pytest.raises(AuthenticationRefused, match="another state"):
        intacct.exchange_code("E110", intacct.ask_consent("E110"), code="c", state="forged")
    assert wire.token_forms == []


def test_each_renewal_uses_the_newest_refresh_token(clock: Clock) -> None:
    wire, store = Wire(page_reply([])), MemoryTokenStore()
    client = authorized(wire, clock, store).entity("E110")
    for _ in range(3):
        client.count(BILL)
        clock.forward(hours=12)
    sent = [form["refresh_token"] for form in wire.token_forms[1:]]
    assert sent == ["refresh-1", "refresh-2", "refresh-3"]


def test_the_rotated_token_is_stored_before_it_is_used(clock: Clock) -> None:
    events: list[str] = []

    class Watched(MemoryTokenStore):
        def put(self, name: str, value: bytes) -> None:
            events.append("stored " + json.loads(value)["refresh_token"])
            super().put(name, value)

    def used(request: httpx.Request) -> httpx.Response:
        events.append("used " + bearer(request))
        return page_reply([])(request)

    authorized(Wire(used), clock, Watched()).entity("E110").count(BILL)
    assert events == ["stored refresh-1", "stored refresh-2", "used token-2"]


def test_a_token_that_could_not_be_stored_is_not_used(clock: Clock) -> None:
    class Full(MemoryTokenStore):
        def put(self, name: str, value: bytes) -> None:
            raise OSError("no space left on device")

    wire = Wire(page_reply([]))
    with pytest.raises(NotReached, match="no space left on device"):
        company(wire, clock, store=Full()).entity("E110").count(BILL)
    assert wire.requests == []


def test_a_refresh_whose_answer_was_lost_is_not_sent_twice(clock: Clock) -> None:
    wire = Wire(page_reply([]))
    client = authorized(wire, clock, MemoryTokenStore()).entity("E110")
    wire.token_script = [httpx.ReadTimeout("slow")]
    with pytest.raises(NotReached, match="did not answer for user usa"):
        client.count(BILL)
    assert len(wire.token_forms) == 2
    assert wire.requests == []


def test_a_refresh_that_never_arrived_is_repeated(clock: Clock) -> None:
    wire = Wire(page_reply([]))
    client = authorized(wire, clock, MemoryTokenStore()).entity("E110")
    wire.token_script = [httpx.ConnectError("refused"), reply(429, "", {"Retry-After": "60"})]
    client.count(BILL)
    assert len(wire.token_forms) == 4


def test_client_credentials_are_asked_for_again_whatever_happened(clock: Clock) -> None:
    wire = Wire(page_reply([]))
    wire.token_script = [httpx.ReadTimeout("slow"), reply(503, ""), reply(502, "<html>")]
    company(wire, clock).entity("E110").count(BILL)
    assert len(wire.token_forms) == 4


def test_a_token_service_that_throttles_to_the_end_is_named(clock: Clock) -> None:
    wire = Wire(page_reply([]))
    wire.token_script = [reply(429, "")] * 5
    with pytest.raises(Throttled):
        company(wire, clock).entity("E110").count(BILL)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            error_reply(401, "REST-1216", "The Client ID, Client Secret, and/or 3rd Party Appl…"),
            AuthenticationRefused,
            "Check client_id and client_secret",
        ),
        (reply(400, {"error": "invalid_client"}), AuthenticationRefused, "Check client_id"),
        (
            error_reply(400, "GW-0012", "The username format is invalid (expected user@company)"),
            AuthenticationRefused,
            "the user id (its case counts)",
        ),
        (error_reply(403, "x", "not allowed"), AccessDenied, "usa > User entities"),
        (reply(404, "<html>"), AuthenticationRefused, "Check base_url"),
        (reply(200, "<html>"), NotReached, "Check base_url"),
    ],
    ids=["secret", "client", "user", "entity", "url", "html"],
)
def test_a_refused_session_says_what_to_check_and_tells_no_secret(
    clock: Clock, answer: httpx.Response, kind: type[Exception], words: str
) -> None:
    wire = Wire(page_reply([]))
    wire.token_script = [answer] * 5
    with pytest.raises(kind) as caught:
        company(wire, clock).entity("E110").count(BILL)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
    assert SECRET not in str(caught.value) + repr(caught.value)


def test_an_ended_authorization_says_that_the_user_must_consent_again(clock: Clock) -> None:
    wire = Wire(page_reply([]))
    client = authorized(wire, clock, MemoryTokenStore()).entity("E110")
    wire.token_script = [reply(400, {"error": "invalid_grant"})]
    with pytest.raises(AuthenticationRefused, match="consent once more as that user"):
        client.count(BILL)


def test_a_user_who_never_consented_is_named(clock: Clock) -> None:
    wire = Wire(page_reply([]))
    with pytest.raises(AuthenticationRefused, match="User usa has not yet authorized"):
        company(wire, clock, CODE).entity("E110").count(BILL)
    assert wire.token_forms == []


def test_secrets_do_not_show_in_a_repr() -> None:
    assert SECRET not in repr(CREDENTIALS) + repr(CODE)


NAME = "api.intacct.test/app.sage.com/usa@demo|E110"


def renewed_by_others(store: TokenStore, clock: Clock, **life: float) -> None:
    """Put what another process would put that renewed the session."""
    stored = json.loads(store.get(NAME) or b"")
    until = clock() + timedelta(**(life or {"hours": 12}))
    stored |= {"access_token": "theirs", "refresh_token": "r", "issued_at": clock().isoformat()}
    store.put(NAME, json.dumps(stored | {"expires_at": until.isoformat()}).encode())


class Rights(MemoryTokenStore):
    """Notes when the right to renew is taken and given back."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        with super().lock(name):
            self.events.append("taken")
            try:
                yield
            finally:
                self.events.append("given back")

    @contextmanager
    def try_lock(self, name: str) -> Iterator[bool]:
        with super().try_lock(name) as taken:
            self.events.append("taken")
            try:
                yield taken
            finally:
                self.events.append("given back")

    def sent(self) -> int:
        """Return how many requests were sent, each with the right in hand for it alone."""
        alone = ["taken", "sent", "given back"]
        for number, event in enumerate(self.events):
            if event == "sent":
                assert self.events[number - 1 : number + 2] == alone
        return self.events.count("sent")

    def noting(self, script: list[Reply]) -> list[Reply]:
        """Return replies that are noted among the events."""

        def noted(what: Reply, request: httpx.Request) -> httpx.Response:
            self.events.append("sent")
            return Wire._play(what, request)

        return [functools.partial(noted, each) for each in script]


def due(clock: Clock, store: TokenStore) -> tuple[Wire, IntacctClient]:
    """Return a session that has to be renewed, by its refresh token."""
    wire = Wire(page_reply([]))
    client = authorized(wire, clock, store).entity("E110")
    client.count(BILL)
    clock.forward(hours=12)
    wire.token_forms.clear()
    return wire, client


PAUSES = [
    reply(429, "", {"Retry-After": "80"}),
    reply(503, "", {"Retry-After": "80"}),
    reply(503, "<html>"),
    httpx.ConnectError("refused"),
]


@pytest.mark.parametrize("pause", PAUSES, ids=["429", "503", "503 of a proxy", "no connection"])
def test_a_renewal_that_has_to_pause_gives_its_right_back_first(
    clock: Clock, pause: httpx.Response | Exception
) -> None:
    store = Rights()
    wire, client = due(clock, store)
    store.events.clear()
    wire.token_script = store.noting([pause] * 3)
    client.count(BILL)
    assert (store.sent(), len(wire.token_forms)) == (3, 4)


@pytest.mark.parametrize("status", [429, 503])
def test_who_wakes_up_after_a_pause_takes_what_others_stored_and_sends_no_used_token(
    clock: Clock, status: int
) -> None:
    store = Rights()
    wire, client = due(clock, store)

    def throttled(_: httpx.Request) -> httpx.Response:
        renewed_by_others(store, clock)
        return reply(status, "", {"Retry-After": "80"})

    wire.token_script = [throttled]
    client.count(BILL)
    assert bearer(wire.requests[-1]) == "theirs"
    assert len(wire.token_forms) == 1, "the refresh token was used meanwhile"


def test_who_wakes_up_to_a_session_that_is_due_again_uses_its_newest_refresh_token(
    clock: Clock,
) -> None:
    store = MemoryTokenStore()
    wire, client = due(clock, store)

    def throttled(_: httpx.Request) -> httpx.Response:
        renewed_by_others(store, clock, seconds=1)
        clock.forward(hours=1)
        return reply(429, "")

    wire.token_script = [throttled]
    client.count(BILL)
    assert [form["refresh_token"] for form in wire.token_forms] == ["refresh-2", "r"]


@pytest.mark.parametrize("pause", PAUSES[:3], ids=["429", "503", "503 of a proxy"])
def test_a_renewal_that_is_throttled_to_the_end_says_so_and_blames_no_consent(
    clock: Clock, pause: httpx.Response
) -> None:
    store = MemoryTokenStore()
    wire, client = due(clock, store)
    before = store.get(NAME)
    wire.token_script = [pause] * 99
    with pytest.raises(Throttled, match="throttling us at entity E110") as caught:
        client.count(BILL)
    assert len(wire.token_forms) == 5
    assert store.get(NAME) == before
    assert "consent" not in str(caught.value)


def test_a_session_is_revoked_without_a_pause_while_others_may_not_renew(clock: Clock) -> None:
    store = Rights()
    wire, _ = due(clock, store)
    intacct = company(wire, clock, CODE, store)
    store.events.clear()
    wire.script = store.noting([reply(429, ""), reply(503, ""), reply(200, {})])
    assert intacct.revoke("usa", "E110")
    assert store.sent() == 3
    assert store.get(NAME) is None
    assert not intacct.revoke("usa", "E110")


INVALID = reply(400, {"error": "invalid_grant"})


def ended(client: IntacctClient) -> str:
    with pytest.raises(AuthenticationRefused) as caught:
        client.count(BILL)
    assert len(str(caught.value).splitlines()) == 2
    assert "`intacct-dagster authorize E110`" in str(caught.value)
    with pytest.raises(AuthenticationRefused) as later:
        client.count(BILL)
    assert later.value.what == caught.value.what, "the cause is kept for those who come later"
    return caught.value.what


@pytest.mark.parametrize(
    "lost", [httpx.ReadTimeout("slow"), reply(500, ""), reply(200, "<html>")], ids=str
)
def test_a_session_whose_renewal_was_lost_on_the_way_says_so(
    clock: Clock, lost: httpx.Response | Exception
) -> None:
    wire, client = due(clock, MemoryTokenStore())
    wire.token_script = [lost]
    with pytest.raises(NotReached):
        client.count(BILL)
    assert len(wire.token_forms) == 1, "the refresh token may have been used"
    wire.token_script = [INVALID]
    assert "renewal of 2026-10-14 06:00 UTC was never answered" in ended(client)


def test_a_renewal_that_was_lost_and_then_succeeds_is_forgotten(clock: Clock) -> None:
    wire, client = due(clock, MemoryTokenStore())
    wire.token_script = [httpx.ReadTimeout("slow")]
    with pytest.raises(NotReached):
        client.count(BILL)
    client.count(BILL)
    clock.forward(hours=12)
    wire.token_script = [INVALID]
    assert "never answered" not in ended(client)


def test_a_second_consent_of_the_same_user_is_named_with_its_place(clock: Clock) -> None:
    store = MemoryTokenStore()
    wire, client = due(clock, store)
    other = company(wire, clock, CODE, store)
    consent = other.ask_consent_of("usa")
    other.enter_top_level("usa", consent, code="c", state=consent.state)
    clock.forward(hours=1)
    wire.token_script = [INVALID]
    said = ended(client)
    assert "consented a second time on 2026-10-14 06:00 UTC, for the top level" in said


def test_a_consent_before_ours_is_not_blamed(clock: Clock) -> None:
    store = MemoryTokenStore()
    wire, client = due(clock, store)
    earlier = json.loads(store.get(NAME) or b"") | {"consented_at": "2026-10-01T00:00:00Z"}
    store.put(NAME.replace("E110", "E120"), json.dumps(earlier).encode())
    wire.token_script = [INVALID]
    assert "Intacct does not say why" in ended(client)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("The refresh token was revoked", "it was revoked"),
        ("The refresh token has expired", "not used for longer than it lives"),
        ("The refresh token is not valid", "Intacct does not say why"),
    ],
)
def test_what_intacct_says_of_the_end_is_the_cause(clock: Clock, said: str, cause: str) -> None:
    wire, client = due(clock, MemoryTokenStore())
    body = {"error": "invalid_grant", "error_description": said}
    wire.token_script = [reply(400, body)]
    assert cause in ended(client)


def test_a_session_that_was_revoked_here_while_it_was_renewed_says_so(clock: Clock) -> None:
    store = MemoryTokenStore()
    wire, client = due(clock, store)

    def revoked(_: httpx.Request) -> httpx.Response:
        store.delete(NAME)
        return INVALID

    wire.token_script = [revoked]
    with pytest.raises(AuthenticationRefused, match="revoked here meanwhile"):
        client.count(BILL)
    assert store.get(NAME) is None


def test_a_refresh_token_that_another_process_used_does_not_end_the_session(clock: Clock) -> None:
    store = MemoryTokenStore()
    wire, client = due(clock, store)

    def used(_: httpx.Request) -> httpx.Response:
        renewed_by_others(store, clock, seconds=1)
        clock.forward(hours=1)
        return INVALID

    wire.token_script = [used]
    client.count(BILL)
    assert wire.token_forms[-1]["refresh_token"] == "r"
    assert json.loads(store.get(NAME) or b"")["ended"] is None


def test_a_renewal_that_always_comes_too_late_names_the_other_process(clock: Clock) -> None:
    store = MemoryTokenStore()
    wire, client = due(clock, store)
    renewals = itertools.count()

    def used(_: httpx.Request) -> httpx.Response:
        stored = json.loads(store.get(NAME) or b"")
        store.put(NAME, json.dumps(stored | {"refresh_token": f"r{next(renewals)}"}).encode())
        return INVALID

    wire.token_script = [used] * 99
    with pytest.raises(NotReached, match="renewed by another process meanwhile"):
        client.count(BILL)
    assert len(wire.token_forms) == 5


def test_a_right_that_is_nearly_over_is_not_used(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that sleeps between the look at the store and the request sends nothing."""
    wire, client = due(clock, MemoryTokenStore())
    seconds = itertools.count(0, 20)
    monkeypatch.setattr("intacct_dagster.client.auth.session.monotonic", lambda: next(seconds))
    with pytest.raises(NotReached, match="too slow"):
        client.count(BILL)
    assert wire.token_forms == []


def test_a_session_renewed_elsewhere_while_the_lock_was_lost_is_taken_over(clock: Clock) -> None:
    wire, store = Wire(page_reply([])), MemoryTokenStore()
    client = authorized(wire, clock, store).entity("E110")
    client.count(BILL)
    clock.forward(hours=12)

    def renewed_elsewhere(request: httpx.Request) -> httpx.Response:
        name = "api.intacct.test/app.sage.com/usa@demo|E110"
        stored = json.loads(store.get(name) or b"")
        until = clock() + timedelta(hours=12)
        stored |= {"access_token": "theirs", "refresh_token": "r", "expires_at": until.isoformat()}
        store.put(name, json.dumps(stored).encode())
        return reply(400, {"error": "invalid_grant"})

    wire.token_script = [renewed_elsewhere]
    client.count(BILL)
    assert bearer(wire.requests[-1]) == "theirs"
