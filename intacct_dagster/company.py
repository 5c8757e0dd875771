"""The company with its sessions: the client and the store that keeps them, put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import sqlalchemy as sa

from intacct_dagster.client import (
    MOSTLY_PRIVATE,
    XML_ONLY,
    AccessDenied,
    AuthorizationCode,
    Bounds,
    ClientCredentials,
    Intacct,
    IntacctError,
    RequestRefused,
    XmlAccess,
)
from intacct_dagster.config import Settings
from intacct_dagster.state import EncryptedTokenStore, open_state, token_key
from intacct_dagster.state.locks import state_locks


def open_company(  # noqa: PLR0913 - options of a public constructor, each by its name
    state: sa.Engine,
    company: str,
    base_url: str,
    users: Mapping[str, str],
    *,
    grant: str,
    client_id: str,
    client_secret: str,
    redirect_uri: str = "",
    session_key: Literal["file", "keyring"] = "file",
    concurrency: int = 6,
    here: int | None = None,
    xml: XmlAccess | None = None,
    bounds: Bounds | None = None,
) -> Intacct:
    """The company whose sessions are kept, encrypted, in the state store. Close it after use.

    `grant` is client_credentials or authorization_code; `users` maps entities to Sage users;
    `session_key` says where the key of the sessions is, unless INTACCT_TOKEN_KEY has it.
    `concurrency` is how many requests may be in flight over all processes that share the state
    store; `here` is how many of them this one may have at most, where it is to have fewer;
    `bounds` are those of one request. Raises
    TokenKeyWrong, TokenKeyMissing and TokenKeyExposed.
    """
    key = token_key(key_folder(state.url), session_key, company)
    return Intacct(
        company,
        base_url,
        ClientCredentials(client_id=client_id, client_secret=client_secret)
        if grant == "client_credentials"
        else AuthorizationCode(
            client_id=client_id, client_secret=client_secret, redirect_uri=redirect_uri
        ),
        users,
        tokens=EncryptedTokenStore(state, key),
        concurrency=concurrency if here is None else here,
        xml=xml,
        bounds=bounds or Bounds(),
        slots=state_locks(state).slots(
            f"requests to {company} at {urlsplit(base_url).netloc}", concurrency
        ),
    )


def key_folder(state: sa.URL) -> Path | None:
    """Return the folder of the state store, which is where a file has the key of the sessions.

    None for a store that is not a file on this machine: a database server, or memory.
    """
    database = (state.database or "").removeprefix("file:")
    in_memory = database in ("", ":memory:") or state.query.get("mode") == "memory"
    if state.get_backend_name() != "sqlite" or in_memory:
        return None
    return Path(database).parent.absolute()


def company_in(state: sa.Engine, settings: Settings, *, here: int | None = None) -> Intacct:
    """Return the company as the settings have it, with its sessions in the state store.

    Close it after use. `here` is how many requests this process may have in flight, where it is to
    have fewer than the settings allow all of them together.
    """
    auth = settings.auth
    return open_company(
        state,
        settings.company,
        settings.base_url,
        settings.users,
        grant=auth.grant,
        client_id=auth.client_id,
        client_secret=auth.client_secret,
        redirect_uri=auth.redirect_uri,
        session_key=auth.session_key,
        concurrency=settings.limits.concurrency,
        here=here,
        xml=settings.xml_access,
        bounds=settings.limits.bounds,
    )


@contextmanager
def company_of(settings: Settings) -> Iterator[Intacct]:
    """The same, with its state store opened for it and closed afterwards."""
    engine = open_state(settings.state)
    try:
        with company_in(engine, settings) as intacct:
            yield intacct
    finally:
        engine.dispose()


def prove(settings: Settings, intacct: Intacct, entity: str) -> None:
    """That the session of an entity works and is in that entity, by the first object that may be
    read. Raises IntacctError."""
    client = intacct.entity(entity)
    refused: IntacctError | None = None
    # Those of the configuration may be misspelt or not allowed, and the session good all the same.
    # The XML API has a sender and sessions of its own.
    objects = [each.name for each in settings.objects if not each.name.startswith(XML_ONLY)]
    for name in dict.fromkeys([*objects, *MOSTLY_PRIVATE]):
        try:
            client.prove_scope(name)
        except (AccessDenied, RequestRefused) as error:
            refused = refused or error
        else:
            return
    if refused is not None:
        raise refused
