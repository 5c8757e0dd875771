"""Where secrets may be sent: over https, or by plain http to this machine, which is the sandbox.

The only place that decides so. An address is judged by its parsed host, because one that begins
with `http://localhost` can lead anywhere: `http://localhost:80@evil.example`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

import httpx

# Programs disagree about where the host is in an address with one of these.
_AMBIGUOUS: Final = re.compile(r"[\s\\\x00-\x20\x7f]")
_THIS_MACHINE: Final = ipaddress.IPv4Network("127.0.0.0/8")


def address_flaw(address: str) -> str | None:
    """Return why no secret may be sent to an address, in words; None if it is safe.

    Safe is https, and http if the host is `localhost`, in 127.0.0.0/8, or `::1`. A user name or
    password in the address makes it unsafe, and is not repeated in the answer.
    """
    if _AMBIGUOUS.search(address):
        return "the address has a space, a backslash or another character that no address has"
    try:
        hosts = {httpx.URL(address).host, urlsplit(address).hostname or ""}
        parts = urlsplit(address)
        _ = parts.port
    except (httpx.InvalidURL, ValueError):
        return "this is not an address such as https://api.intacct.com/ia/api/v1"
    if "@" in parts.netloc:
        return (
            "the address has a user name or password before the host, which comes after the `@`: "
            "remove everything up to it"
        )
    if parts.scheme not in ("http", "https"):
        return f"'{address}' does not begin with https://"
    if "" in hosts:
        return f"'{address}' has no host"
    if parts.scheme == "http" and not all(map(_is_this_machine, hosts)):
        return (
            f"{address} is plain http to another machine, and everybody on the way could read "
            "secrets and books: use https://. Plain http is for the sandbox on this machine "
            "(localhost, 127.0.0.0/8 or [::1])"
        )
    return None


def is_loopback(address: str) -> bool:
    """Return whether an address is plain http to this machine: the sandbox, or a local listener."""
    return urlsplit(address).scheme == "http" if address_flaw(address) is None else False


def _is_this_machine(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address in _THIS_MACHINE or address == ipaddress.IPv6Address("::1")
