"""The two ways to be let in, and the consent page of the second.

`client_credentials` needs nobody's consent and keeps no refresh token: the one for unattended work.
`authorization_code` acts for a person who consented once in a browser.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from urllib.parse import urlencode

from intacct_dagster.client.errors import AddressRefused
from intacct_dagster.client.http.address import address_flaw


@dataclass(frozen=True)
class ClientCredentials:
    """A registered application and its secret. Users must be Web Services users of the company."""

    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True)
class AuthorizationCode:
    """A registered application that acts for users who consent in a browser.

    Use one Sage user per entity: when one user consents a second time, the refresh token of the
    first consent stops working (observed by integrators; not documented by Sage).
    """

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str


Grant = ClientCredentials | AuthorizationCode


@dataclass(frozen=True)
class Consent:
    """A consent that was asked for. Keep it until the browser comes back with code and state."""

    url: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)


def ask_consent(base_url: str, grant: AuthorizationCode) -> Consent:
    """Return the page to open in a browser. `offline_access` is what brings a refresh token.

    Sage supports PKCE with this grant (developer portal, OAuth 2.0); its parameters are RFC 7636's.
    Raises AddressRefused where the page, or the address that gets the code, is not safe.
    """
    for address, name in ((base_url, "base_url"), (grant.redirect_uri, "redirect_uri")):
        flaw = address_flaw(address)
        if flaw is not None:
            raise AddressRefused(f"No consent is asked: {flaw}.", remedy=f"Correct {name}.")
    state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    parameters = {
        "response_type": "code",
        "client_id": grant.client_id,
        "redirect_uri": grant.redirect_uri,
        "scope": "offline_access",
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    url = f"{base_url.rstrip('/')}/oauth2/authorize?{urlencode(parameters)}"
    return Consent(url, state, verifier)
