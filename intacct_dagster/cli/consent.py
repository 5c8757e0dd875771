"""A person's consent in a browser, at the terminal: opened or shown, listened for or pasted.

No code and no secret is printed.
"""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from intacct_dagster.client import Consent, NotThisConsent, code_from, is_loopback, listening
from intacct_dagster.config import ConfigError

#: How often a wrong address may be pasted.
TRIES = 5


@contextmanager
def asking(
    redirect_uri: str, *, paste: bool = False, browser: bool = True, timeout: float = 300
) -> Iterator[Callable[[Consent], str]]:
    """Yields what has a person consent, and gives the authorization code.

    Listens at `redirect_uri` if that is on this machine; over SSH, or with `paste`, the address is
    pasted. Raises IntacctError where nobody came back or the access was not allowed, and
    ConfigError after TRIES wrong addresses.
    """
    remote = bool(os.environ.get("SSH_CONNECTION")) and not os.environ.get("DISPLAY")
    if paste or remote or not is_loopback(redirect_uri):
        yield _pasted
        return
    with listening(redirect_uri) as wait:

        def listened(consent: Consent) -> str:
            if not browser or not webbrowser.open(consent.url):
                _show(consent)
            return wait(consent, timeout)

        yield listened


def _show(consent: Consent) -> None:
    click.echo(f"Open this page, in a private window:\n\n  {consent.url}\n")


def _pasted(consent: Consent) -> str:
    _show(consent)
    click.echo(
        "The browser is then sent to an address that may not open: that is all right. Copy it from "
        "the address bar, and paste it here (it is not shown)."
    )
    for _ in range(TRIES):
        try:
            return code_from(click.prompt("Address", hide_input=True, err=True), consent)
        except NotThisConsent as error:
            click.echo(str(error), err=True)
    raise ConfigError("That was no address of this consent. Run the command again.")
