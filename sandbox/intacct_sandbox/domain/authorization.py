"""The authorization server: issues, renews, checks and revokes tokens.

Facts: three grants, form or JSON, the four fields of the answer (a refresh token for every grant)
and 43,200 s of life are recorded live 2026-03; `entity_id` at refresh and `user@company|entity` are
documented; that a revoke ends all tokens of the user is what integrators say. What is open (whether
a refresh token counts once, how long it lives, what a second consent ends, statuses of errors) are
behaviours.

Tokens follow from the seed and a number, so that a run can be repeated to the byte.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec

from intacct_sandbox.company import CLIENT_ID, CLIENT_SECRET, COMPANY, Company, User
from intacct_sandbox.control.behaviours import Behaviours
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import Rejection
from intacct_sandbox.objects.catalogue import Json

from .grants import Code, Grant
from .sessions import UserSession, enter

TOKEN_LIFE = timedelta(hours=12)
"""How long an access token counts (recorded live: `expires_in` 43200)."""

CODE_LIFE = timedelta(minutes=10)
"""How long an authorization code counts; Sage's is not published."""

SESSION_LIFE = timedelta(seconds=21_600)
"""How long the session id of the XML API counts (fact: Sage OpenAPI, session/id)."""

GRACE = timedelta(seconds=60)
"""How long a replaced refresh token still counts where there is a grace period."""

_REFRESH_LIFE = {"30_days": timedelta(days=30), "1_day": timedelta(days=1)}
_MOST_CODES = 1000
_MOST_FORMER = 50


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _needed(asked: Mapping[str, str], name: str) -> str:
    if name not in asked:
        raise rejections.gateway(400, "GW-0015", f"Missing {name} Attribute")
    return asked[name]


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class AuthorizationServer:
    """Issues, renews, checks and revokes tokens.

    `keep` is called with each event that must outlive a restart; `replay` takes them back. Tokens
    are JWTs, signed with a key that follows from the seed, so they outlive a restart too.
    """

    def __init__(
        self,
        seed: int,
        keep: Callable[[dict[str, Json]], None],
        behaviours: Behaviours,
        company: Company,
        find_user: Callable[[str], User | None],
    ) -> None:
        self._signing_key = hashlib.sha256(f"sandbox company of seed {seed}".encode()).digest()
        self._keep = keep
        self._behaviours = behaviours
        self._company = company
        self._find_user = find_user
        self._issued = 0
        self._coded = 0
        self._grants: dict[str, Grant] = {}
        self._revoked_up_to: dict[str, int] = {}
        self._codes: dict[str, Code] = {}
        self._sessions_opened = 0
        self._sessions: dict[str, tuple[str, str | None, datetime, bool]] = {}
        self._era = self._eras = 0

    def snapshot(self) -> Callable[[], None]:
        """Return what takes everything back to how it is now; may be called more than once."""
        issued, coded = self._issued, self._coded
        grants, revoked, codes = dict(self._grants), dict(self._revoked_up_to), dict(self._codes)
        opened, sessions, era = self._sessions_opened, dict(self._sessions), self._era

        def restore() -> None:
            self._sessions_opened, self._sessions, self._era = opened, dict(sessions), era
            self._issued, self._coded = issued, coded
            self._grants, self._revoked_up_to = dict(grants), dict(revoked)
            self._codes = dict(codes)

        return restore

    def _derived(self, what: str) -> bytes:
        return hmac.digest(self._signing_key, what.encode(), "sha256")

    # --- consent --------------------------------------------------------------------------

    def check_consent(self, asked: Mapping[str, str]) -> None:
        """Raise `Rejection` (400) if a consent cannot be asked for at all."""
        if asked.get("client_id") != CLIENT_ID:
            raise rejections.gateway(400, "GW-0011", "Invalid Request")
        if asked.get("response_type") != "code":
            raise rejections.bad_request("response_type must be 'code'")
        redirect = asked.get("redirect_uri", "")
        if not redirect.startswith(("http://", "https://")) or "#" in redirect:
            raise rejections.bad_request("redirect_uri must be an absolute http or https URL")
        if asked.get("code_challenge_method", "plain") not in ("plain", "S256"):
            raise rejections.bad_request("code_challenge_method must be 'S256' or 'plain'")

    def consent(self, user_id: str, asked: Mapping[str, str], now: datetime) -> str:
        """Return the code for a consent that `user_id` gave; raises `Rejection` (400, 401)."""
        self.check_consent(asked)
        if self._find_user(user_id) is None:
            raise rejections.user_unknown(user_id)
        self._codes = {code: one for code, one in self._codes.items() if one.until > now}
        if len(self._codes) >= _MOST_CODES:
            raise rejections.gateway(429, "GW-0010", "API rate limit exceeded")
        self._coded += 1
        code = _b64(self._derived(f"code {self._coded} {now.isoformat()}"))
        self._codes[code] = Code(
            user=user_id,
            redirect_uri=asked["redirect_uri"],
            challenge=asked.get("code_challenge") or None,
            challenge_method=asked.get("code_challenge_method", "plain"),
            offline="offline_access" in asked.get("scope", "").split(),
            until=now + CODE_LIFE,
        )
        return code

    # --- tokens ---------------------------------------------------------------------------

    def answer(self, asked: Mapping[str, str], now: datetime) -> dict[str, Json]:
        """Return the answer to a token request; raises `Rejection`."""
        if not asked:
            raise rejections.gateway(400, "GW-0035", "Missing Token Payload")
        kind = asked.get("grant_type", "")
        if kind not in ("authorization_code", "refresh_token", "client_credentials"):
            raise rejections.gateway(400, "GW-0032", "Invalid Token Payload")
        if kind == "client_credentials":
            self.check_client(asked)
            if "username" not in asked and asked.get("session_id"):
                return self._log_in_again(asked["session_id"], now)
            return self._log_in(_needed(asked, "username"), now)
        if kind == "authorization_code":
            code = self._codes.get(_needed(asked, "code"))
            # A public client has no secret, and proves by PKCE that the consent was asked by it.
            self.check_client(asked, public=code is not None and code.challenge is not None)
            return self._exchange(asked, now)
        shown = _hash(_needed(asked, "refresh_token"))
        public = any(
            one.public and (one.refresh == shown or shown in one.former)
            for one in self._grants.values()
        )
        self.check_client(asked, public=public)
        return self._refresh(asked, now)

    def check_client(self, asked: Mapping[str, str], *, public: bool = False) -> None:
        """Raise `Rejection` if it is not the registered application.

        `public`: it may come without its secret.

        Raises `Rejection`.
        """
        if not asked.get("client_id"):
            raise rejections.gateway(400, "GW-0037", "Missing Client ID")
        right = hmac.compare_digest(asked["client_id"].encode(), CLIENT_ID.encode())
        secret = asked.get("client_secret", "").encode()
        proven = hmac.compare_digest(secret, CLIENT_SECRET.encode()) or (public and not secret)
        if not (proven and right):
            raise rejections.client_unknown(self._behaviours["invalid_client"])

    def session(self, session_id: str, now: datetime) -> tuple[User, str | None]:
        """Return whose a session of the XML API is, and in which entity; raises `Rejection`
        (401)."""
        name, entity, at, _ = self._sessions.get(_hash(session_id), ("", None, now, False))
        user = self._find_user(name)
        if user is None or now - at >= SESSION_LIFE:
            raise rejections.session_unknown()
        return user, entity

    def was_moved(self, session_id: str) -> bool:
        """Return whether a session of the XML API was opened from another one."""
        return self._sessions.get(_hash(session_id), ("", None, None, False))[3]

    def open_session(
        self, user: str, entity: str | None, now: datetime, *, moved: bool = False
    ) -> str:
        """Return a session id of the XML API, which may be used to log in; counts `SESSION_LIFE`.

        `moved`: it was opened by the XML API, from another session.
        """
        self._sessions_opened += 1
        id_ = f"{_b64(self._derived(f'session {self._sessions_opened}'))}.."
        self._happen(
            {
                "event": "session",
                "number": self._sessions_opened,
                "session": _hash(id_),
                "user": user,
                "entity": entity,
                "at": now.isoformat(),
                "moved": moved,
            }
        )
        return id_

    def _log_in_again(self, session_id: str, now: datetime) -> dict[str, Json]:
        user, entity = self.session(session_id, now)
        grant = Grant(self._next_id(), "client_credentials", user.id, entity, None)
        return self._issue(grant, now, offline=True)

    def _log_in(self, username: str, now: datetime) -> dict[str, Json]:
        if not username:
            raise rejections.gateway(400, "GW-0036", "Missing User Name")
        user_id, at, rest = username.partition("@")
        company, _, entity = rest.partition("|")
        if not at or not user_id or not company:
            raise rejections.gateway(
                400, "GW-0012", "The username format is invalid (expected user@company)"
            )
        user = self._find_user(user_id)
        if user is None or company != COMPANY:
            raise rejections.user_unknown(username)
        session = enter(user, entity or None, self._company.entity_keys)
        grant = Grant(self._next_id(), "client_credentials", user.id, session.entity, None)
        return self._issue(grant, now, offline=True)

    def _exchange(self, asked: Mapping[str, str], now: datetime) -> dict[str, Json]:
        # Taken out before it is looked at: a code counts once, also when the exchange fails.
        code = self._codes.pop(asked.get("code", ""), None)
        if code is None or code.until <= now:
            raise self._grant_invalid("The authorization code is not valid or was used before")
        if asked.get("redirect_uri") != code.redirect_uri:
            raise self._grant_invalid("The redirect_uri is not the one the code was made for")
        if code.challenge is not None:
            verifier = asked.get("code_verifier", "")
            shown = (
                _b64(hashlib.sha256(verifier.encode()).digest())
                if code.challenge_method == "S256"
                else verifier
            )
            if not hmac.compare_digest(shown.encode(), code.challenge.encode()):
                raise self._grant_invalid("The code_verifier does not fit the code_challenge")
        earlier = [
            one.id
            for one in self._grants.values()
            if one.user == code.user and one.kind == "authorization_code"
        ]
        if earlier and self._behaviours["second_consent"] == "ends_first":
            self._happen({"event": "ended", "grants": list[Json](earlier)})
        user = self._user(code.user)
        public = not asked.get("client_secret")
        grant = Grant(
            self._next_id(), "authorization_code", user.id, user.home, None, public=public
        )
        return self._issue(grant, now, offline=code.offline)

    def _refresh(self, asked: Mapping[str, str], now: datetime) -> dict[str, Json]:
        grant = self._grant_of(_hash(asked.get("refresh_token", "")), now)
        entity = asked.get("entity_id") or grant.entity
        session = enter(self._user(grant.user), entity, self._company.entity_keys)
        return self._issue(replace(grant, entity=session.entity), now, offline=True)

    def _grant_of(self, shown: str, now: datetime) -> Grant:
        """Return the grant that a refresh token (by its hash) stands for; raises `Rejection`."""
        why = "The refresh token is not valid or was used before"
        for grant in self._grants.values():
            if grant.refresh == shown:
                life = _REFRESH_LIFE.get(self._behaviours["refresh_life"])
                if life and grant.renewed_at and now - grant.renewed_at > life:
                    raise self._grant_invalid("The refresh token has expired")
                return grant
            if shown in grant.former:
                rotation = self._behaviours["refresh_rotation"]
                if rotation == "both":
                    return grant
                if rotation == "grace" and now - grant.former[shown] <= GRACE:
                    return grant
                if self._behaviours["refresh_reuse"] == "ends_grant":
                    self._happen({"event": "ended", "grants": [grant.id]})
                raise self._grant_invalid(why)
        raise self._grant_invalid(why)

    def _user(self, id_: str) -> User:
        """Return a user who gave a consent; raises `Rejection` if they are no user any more."""
        user = self._find_user(id_)
        if user is None:
            raise self._grant_invalid("The user is not known, or not active")
        return user

    def _grant_invalid(self, why: str) -> Rejection:
        return rejections.grant_invalid(why, self._behaviours["invalid_grant"])

    def _next_id(self) -> str:
        return self._derived(f"grant {self._issued + 1}").hex()[:16]

    def _issue(self, grant: Grant, now: datetime, *, offline: bool) -> dict[str, Json]:
        number = self._issued + 1
        keeps = self._behaviours["refresh_rotation"] == "none" and grant.refresh is not None
        refresh_number = grant.refresh_number if keeps else number
        refresh = _b64(self._derived(f"refresh {refresh_number}")) if offline else None
        self._happen(
            {
                "event": "issued",
                "number": number,
                "grant": grant.id,
                "kind": grant.kind,
                "user": grant.user,
                "entity": grant.entity,
                "refresh": _hash(refresh) if refresh else None,
                "refresh_number": refresh_number,
                "public": grant.public,
                "at": now.isoformat(),
            }
        )
        claims: dict[str, Json] = {
            "iss": "sandbox",
            "sub": grant.user,
            "cny": COMPANY,
            "client_id": CLIENT_ID,
            "entity": grant.entity,
            "n": self._issued,
            "era": self._era,
            "iat": int(now.timestamp()),
            "exp": int((now + TOKEN_LIFE).timestamp()),
        }
        answer: dict[str, Json] = {"token_type": "Bearer", "access_token": self._sign(claims)}
        if refresh:
            answer["refresh_token"] = refresh
        answer["expires_in"] = int(TOKEN_LIFE.total_seconds())
        return answer

    def _sign(self, claims: dict[str, Json]) -> str:
        head = _b64(msgspec.json.encode({"typ": "JWT", "alg": "HS256"}))
        signed = f"{head}.{_b64(msgspec.json.encode(claims))}"
        return f"{signed}.{_b64(hmac.digest(self._signing_key, signed.encode(), 'sha256'))}"

    # --- events ---------------------------------------------------------------------------

    def _happen(self, event: dict[str, Json]) -> None:
        # Written before it counts, so that nobody holds a token the journal does not know.
        self._keep(event)
        self.replay(event)

    def replay(self, event: Mapping[str, Any]) -> None:
        """Let an event happen, now or again after a restart."""
        match event["event"]:
            case "issued":
                self._issued = max(self._issued, event["number"])
                at = datetime.fromisoformat(event["at"])
                before = self._grants.get(event["grant"])
                former = dict(before.former) if before else {}
                if before and before.refresh and before.refresh != event["refresh"]:
                    former[before.refresh] = at
                self._grants[event["grant"]] = Grant(
                    id=event["grant"],
                    kind=event["kind"],
                    user=event["user"],
                    entity=event["entity"],
                    refresh=event["refresh"],
                    refresh_number=event["refresh_number"],
                    renewed_at=at,
                    public=event.get("public", False),
                    former=dict(list(former.items())[-_MOST_FORMER:]),
                )
            case "ended":
                for grant in event["grants"]:
                    self._grants.pop(grant, None)
            case "session":
                self._sessions_opened = event["number"]
                at = datetime.fromisoformat(event["at"])
                self._sessions[event["session"]] = (
                    event["user"],
                    event["entity"],
                    at,
                    event.get("moved", False),
                )
            case "era":
                self._era = self._eras = event["era"]
            case "revoked":
                self._revoked_up_to[event["user"]] = event["number"]
                self._grants = {
                    id_: one for id_, one in self._grants.items() if one.user != event["user"]
                }

    # --- use ------------------------------------------------------------------------------

    def bearer(self, header: str | None, now: datetime) -> tuple[User, str | None]:
        """Return the user of an `Authorization` header and the entity its token is bound to.

        Raises `Rejection` (401).
        """
        scheme, _, token = (header or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise rejections.gateway(401, "GW-0034", "Invalid Authorization Header")
        claims = self._claims(token.strip())
        if int(claims["exp"]) <= now.timestamp():
            raise rejections.token_expired(self._behaviours["expired_token"])
        user = self._find_user(claims["sub"])
        if user is None or claims["n"] <= self._revoked_up_to.get(user.id, 0):
            raise rejections.token_dead(self._behaviours["dead_token"])
        return user, claims["entity"]

    def _claims(self, token: str) -> dict[str, Any]:
        signed, _, signature = token.rpartition(".")
        try:
            claims = msgspec.json.decode(_unb64(signed.partition(".")[2]))
            right = hmac.digest(self._signing_key, signed.encode(), "sha256")
            genuine = hmac.compare_digest(_unb64(signature), right)
        except (ValueError, UnicodeError, msgspec.DecodeError):
            raise rejections.gateway(401, "GW-0031", "Invalid Token") from None
        if not genuine or not isinstance(claims, dict) or claims["era"] != self._era:
            raise rejections.token_dead(self._behaviours["dead_token"])
        return cast("dict[str, Any]", claims)

    def revoke(self, asked: Mapping[str, str]) -> None:
        """End all tokens of the user whose access or refresh token is shown.

        A token that is not known is no error (RFC 7009). Raises `Rejection` for a wrong client.
        """
        self.check_client(asked)
        token = asked.get("token", "")
        shown = _hash(token)
        user = next((one.user for one in self._grants.values() if one.refresh == shown), None)
        if user is None:
            try:
                user = str(self._claims(token)["sub"])
            except Rejection:
                return
        self.revoke_user(user)

    def session_of(self, user: str, entity: str | None) -> UserSession:
        """Return the session in which a user worked in an entity, whether or not they still may."""
        return UserSession(self._find_user(user) or User(user, "", user, frozenset()), entity)

    def user_key(self, user: str | None) -> str | None:
        """Return the key of a user's record, by their id."""
        found = None if user is None else self._find_user(user)
        return None if found is None else found.key

    def introspect(self, token: str, now: datetime) -> dict[str, Json]:
        """Return what an access token says, if it counts (RFC 7662; a client has the names of the
        fields, and what `user_key` and the like hold is a guess)."""
        try:
            user, entity = self.bearer(f"Bearer {token}", now)
        except Rejection:
            return {"active": False}
        claims = self._claims(token)
        return {
            "active": True,
            "token_type": "Bearer",
            "client_id": CLIENT_ID,
            "user_id": user.id,
            "cny_id": COMPANY,
            "exp": claims["exp"],
            "iat": claims["iat"],
            "company_key": "1",
            "entity_id": entity,
            "entity_key": None if entity is None else self._company.entity_keys[entity],
            "user_key": user.key,
        }

    def begin_era(self) -> None:
        """End every token there is, also those whose grants were forgotten."""
        self._happen({"event": "era", "era": self._eras + 1})

    def revoke_user(self, user: str) -> None:
        """End all tokens of a user."""
        self._happen({"event": "revoked", "user": user, "number": self._issued})
