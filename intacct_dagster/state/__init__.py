"""The state store: what cannot be rebuilt from Intacct and is shared by all processes.

Encrypted sessions and their key, people's approvals, the use of the API, and locks between
processes. The posting ledger is a package of its own in it, `intacct_dagster.state.ledger`. All of
it is in one database, SQLite or PostgreSQL, that `open_state` opens.
"""

from intacct_dagster.state.api_usage import (
    ApiUsage,
)
from intacct_dagster.state.approvals import (
    Approvals,
)
from intacct_dagster.state.encryption_key import (
    keep_token_key,
    token_key,
)
from intacct_dagster.state.errors import (
    StateError,
)
from intacct_dagster.state.store import (
    open_state,
)
from intacct_dagster.state.tokens import (
    EncryptedTokenStore,
)

__all__ = [
    "ApiUsage",
    "Approvals",
    "EncryptedTokenStore",
    "StateError",
    "keep_token_key",
    "open_state",
    "token_key",
]
