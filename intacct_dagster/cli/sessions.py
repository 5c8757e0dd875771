"""`intacct-dagster authorize` and `sessions`: who may act for which entity, for a person to see to.

No token, code or secret is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import click
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from intacct_dagster.cli.consent import asking
from intacct_dagster.client import IntacctError, StoredSession
from intacct_dagster.company import company_of, key_folder, prove
from intacct_dagster.config import ConfigError, Settings, load_settings
from intacct_dagster.state import (
    EncryptedTokenStore,
    TokenKeyWrong,
    keep_token_key,
    new_token_key,
    open_state,
)


def authorize(
    entities: Sequence[str], *, everyone: bool, paste: bool, browser: bool, timeout: float
) -> None:
    """Has the users of entities consent, one after the other, and keeps their sessions.

    `everyone` stands for all entities whose session is missing or has ended. Raises ConfigError and
    IntacctError; what was authorized before stays.
    """
    settings = load_settings()
    if settings.auth.grant != "authorization_code":
        raise ConfigError(
            "auth.grant is client_credentials, which needs nobody's consent. "
            "`intacct-dagster sessions check` shows whether its sessions work."
        )
    _known(settings, entities)
    if settings.auth.session_key == "keyring":
        click.echo(_keep_key(settings))
    with company_of(settings) as intacct, ExitStack() as stack:
        if everyone:
            needed = {
                s.entity for s in intacct.stored_sessions() if s.state in ("missing", "ended")
            }
            entities = [each for each in settings.users if each in needed]
        if not entities:
            click.echo("Every entity has its session: there is nothing to authorize.")
            return
        for entity in entities:
            intacct.ask_consent(entity)  # refuses before anything is opened
        code_of = stack.enter_context(
            asking(settings.auth.redirect_uri, paste=paste, browser=browser, timeout=timeout)
        )
        for entity in entities:
            user = settings.users[entity]
            consent = intacct.ask_consent(entity)
            click.echo(f"{entity}: log in to Sage Intacct as {user}, and allow the access.")
            code = code_of(consent)
            intacct.exchange_code(entity, consent, code=code, state=consent.state)
            prove(settings, intacct, entity)
            click.echo(f"{entity}: {user} is authorized; the session is kept, encrypted.")
    click.echo("Next: `intacct-dagster doctor`.")


def _known(settings: Settings, entities: Sequence[str]) -> None:
    unknown = [each for each in entities if each not in settings.users]
    if unknown:
        raise ConfigError(
            f"There is no entity {unknown[0]}; intacct.yaml has: {', '.join(settings.users)}."
        )


def make_key() -> None:
    """Makes a key for the stored sessions in the OS keyring, or takes the one of a file there.

    Raises ConfigError and WarehouseError.
    """
    settings = load_settings()
    if settings.auth.session_key != "keyring":
        raise ConfigError(
            "The key of the stored sessions is in a file, token.key beside the state store. Say "
            "`auth: {session_key: keyring}` in intacct.yaml, and run this again to take it into "
            "the OS keyring."
        )
    click.echo(_keep_key(settings))


def _keep_key(settings: Settings) -> str:
    return keep_token_key(key_folder(sa.make_url(settings.state)), settings.company)


def renew_key() -> None:
    """Make a new key for the stored sessions, and forget those that it does not open.

    Raises ConfigError and WarehouseError.
    """
    settings = load_settings()
    place = settings.auth.session_key
    engine = open_state(settings.state)
    try:
        key, done = new_token_key(key_folder(engine.url), place, settings.company)
        click.echo(done)
        store, forgotten = EncryptedTokenStore(engine, key), 0
        for name in store.names():
            # keys in the keyring are each of one company, and a store may have several
            company = name.rpartition("@")[2].partition("|")[0]
            if place == "keyring" and company != settings.company:
                continue
            try:
                store.get(name)
            except TokenKeyWrong:
                store.delete(name)
                forgotten += 1
    finally:
        engine.dispose()
    again = "with `intacct-dagster authorize --all`"
    if settings.auth.grant == "client_credentials":
        again = "by the next run"
    click.echo(
        f"{forgotten} stored session{'' if forgotten == 1 else 's'} of the old key forgotten; "
        f"opened again {again}."
    )


def show_sessions() -> bool:
    """Lists the stored sessions without asking Intacct. Whether none needs a person."""
    settings = load_settings()
    with company_of(settings) as intacct:
        sessions = intacct.stored_sessions()
    table = Table("entity", "user", "state", "what to do")
    for each in sessions:
        table.add_row(each.entity or "(top level)", each.user, *_condition(settings, each))
    Console().print(table)
    return not any(needs_consent(settings, each) for each in sessions)


def needs_consent(settings: Settings, session: StoredSession) -> bool:
    """Whether only a person can bring this session back."""
    asked = settings.auth.grant == "authorization_code" and session.entity in settings.users
    return asked and session.state in ("missing", "ended")


def _condition(settings: Settings, each: StoredSession) -> tuple[str, str]:
    until = f" until {each.until:%Y-%m-%d %H:%M} UTC" if each.until else ""
    if each.entity is not None and settings.users.get(each.entity) != each.user:
        return each.state, f"not in intacct.yaml: `intacct-dagster sessions revoke {each.entity}`"
    if needs_consent(settings, each):
        return each.state, f"`intacct-dagster authorize {each.entity}`, as {each.user}"
    words = {"alive": f"alive{until}", "due": "due: the next use renews it"}
    return words.get(each.state, "none yet: the first use opens it"), ""


def check_sessions(entities: Sequence[str]) -> bool:
    """Uses the session of each entity (default: all), and says whether it works there."""
    settings = load_settings()
    _known(settings, entities)
    good = True
    with company_of(settings) as intacct:
        for entity in entities or settings.users:
            try:
                prove(settings, intacct, entity)
            except IntacctError as error:
                good = False
                click.echo(f"{entity}: {error}")
            else:
                click.echo(
                    f"{entity}: {settings.users[entity]} works, in {entity} and nowhere else."
                )
    return good


def revoke_sessions(entities: Sequence[str]) -> None:
    """Ends the sessions of entities at Intacct, and forgets them."""
    settings = load_settings()
    with company_of(settings) as intacct:
        kept = [s for s in intacct.stored_sessions() if s.state != "missing"]
        for entity in entities:
            theirs = [each for each in kept if each.entity == entity]
            if not theirs:
                click.echo(f"{entity}: there is no session to revoke.")
            for each in theirs:
                intacct.revoke(each.user, each.entity)
                click.echo(
                    f"{entity}: the session of {each.user} is revoked and forgotten. Sage ends all "
                    f"of {each.user}'s tokens in the company with it."
                )
