"""Why Intacct no longer takes a refresh token, as far as that can be known."""

from __future__ import annotations

from collections.abc import Iterable

from intacct_dagster.client.auth.tokens import Token


def why_it_ended(said: str, token: Token, others: Iterable[tuple[str, Token]]) -> str:
    """Return the cause of an `invalid_grant`, in one sentence.

    Args:
        said: What Intacct answered.
        token: The token that was sent, which is still the one that is stored.
        others: The other stored sessions of the same user: the place, in words, and the token.
    """
    if token.unanswered_at is not None:
        return (
            f"its renewal of {token.unanswered_at:%Y-%m-%d %H:%M} UTC was never answered: Intacct "
            "took the refresh token then, and the new one was lost on the way"
        )
    for place, other in others:
        since = token.consented_at
        if other.consented_at is not None and (since is None or other.consented_at > since):
            return (
                f"the same user consented a second time on {other.consented_at:%Y-%m-%d %H:%M} "
                f"UTC, for {place}, and that ended the first consent"
            )
    words = said.lower()
    if "revoke" in words:
        return "it was revoked"
    if "expire" in words:
        return "the refresh token was not used for longer than it lives"
    return (
        "Intacct does not say why. Either the user consented once more elsewhere, which ends the "
        "first consent, or it was revoked, or something with a copy of this state store used the "
        "refresh token"
    )
