"""The state store: what cannot be rebuilt from Intacct and is shared by all processes.

It holds encrypted sessions, people's approvals, the use of the API, locks between processes, and
the posting ledger, whose records `intacct_dagster.state.ledger` exports. `open_state` opens it; it
is one database, SQLite or PostgreSQL.

Every module that has a table is imported here, because `open_state` creates the tables of modules
that are imported.
"""

import intacct_dagster.state.ledger.schema  # noqa: F401 - for its tables
from intacct_dagster.state.api_usage import (
    ApiUsage,
)
from intacct_dagster.state.approvals import (
    Approvals,
)
from intacct_dagster.state.encryption_key import (
    TokenKeyWrong,
    keep_token_key,
    new_token_key,
    token_key,
)
from intacct_dagster.state.errors import (
    StateError,
)
from intacct_dagster.state.lost_postings import (
    LostPostings,
)
from intacct_dagster.state.pairing import (
    Pairing,
)
from intacct_dagster.state.plans import (
    Plans,
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
    "LostPostings",
    "Pairing",
    "Plans",
    "StateError",
    "TokenKeyWrong",
    "keep_token_key",
    "new_token_key",
    "open_state",
    "token_key",
]
