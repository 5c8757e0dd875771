from intacct_dagster.state.api_usage import (
    Allowance,
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
from intacct_dagster.state.store import (
    open_state,
)
from intacct_dagster.state.tokens import (
    EncryptedTokenStore,
)

__all__ = [
    "Allowance",
    "Approvals",
    "EncryptedTokenStore",
    "StateError",
    "TokenKeyWrong",
    "keep_token_key",
    "new_token_key",
    "open_state",
    "token_key",
]
