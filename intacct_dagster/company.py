"""The company with its sessions: the client and the store that keeps them, put together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from intacct_dagster.intacct import AuthorizationCode, ClientCredentials, Intacct
from intacct_dagster.warehouse import EncryptedTokenStore, token_key


def open_company(
    state: sa.Engine,
    company: str,
    base_url: str,
    users: Mapping[str, str],
    *,
    grant: str,
    client_id: str,
    client_secret: str,
    redirect_uri: str = "",
    concurrency: int = 6,
) -> Intacct:
    """The company whose sessions are kept, encrypted, in the state store. Close it after use.

    `grant` is client_credentials or authorization_code; `users` maps entities to Sage users.
    """
    folder = Path(state.url.database).parent if state.url.database else Path()
    return Intacct(
        company,
        base_url,
        ClientCredentials(client_id=client_id, client_secret=client_secret)
        if grant == "client_credentials"
        else AuthorizationCode(
            client_id=client_id, client_secret=client_secret, redirect_uri=redirect_uri
        ),
        users,
        tokens=EncryptedTokenStore(state, token_key(folder)),
        concurrency=concurrency,
    )
