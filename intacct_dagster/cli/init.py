"""`intacct-dagster init`: an intacct.yaml and an .env for a company, asked for or given by flags.

Nothing is written before the company was asked whether it all fits, as far as it can be asked: with
client_credentials it can; with authorization_code once a top-level user has consented to that, and
their session is ended again before anything is written.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from intacct_dagster.cli.consent import asking
from intacct_dagster.client import (
    CHANGED,
    LARGEST_PAGE,
    AccessDenied,
    AuthorizationCode,
    ClientCredentials,
    Filter,
    Intacct,
    IntacctClient,
    IntacctError,
    Query,
    RequestRefused,
    address_flaw,
)
from intacct_dagster.config import CONFIG_FILE, DIMENSIONS, Auth, ConfigError, read_settings
from intacct_dagster.state import keep_token_key

SAGE: Final = "https://api.intacct.com/ia/api/v1"
SECRET: Final = "INTACCT_CLIENT_SECRET"  # noqa: S105 - the name of a variable
CLIENT: Final = "INTACCT_CLIENT_ID"
REDIRECT_URI: Final = str(Auth.model_fields["redirect_uri"].default)

#: What most companies begin with.
USUAL: Final = (
    "accounts-receivable/customer",
    "accounts-receivable/invoice",
    "accounts-receivable/invoice-line",
    "accounts-payable/vendor",
    "accounts-payable/bill",
    "accounts-payable/bill-line",
    "general-ledger/account",
    "general-ledger/journal",
    "general-ledger/journal-entry",
    "general-ledger/journal-entry-line",
    "company-config/department",
    "company-config/employee",
)

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]*")


@dataclass
class Answers:
    """What a person, or a script, said. None and () are asked for, or have a default."""

    company: str | None = None
    base_url: str | None = None
    scope: str | None = None
    grant: str | None = None
    client_id: str | None = None
    start: date | None = None
    redirect_uri: str | None = None
    discover: str | None = None
    paste: bool = False
    """Whether the address that a browser is sent back to is pasted, instead of listened for."""
    entities: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    keyring: bool = False
    """Whether the key of the stored sessions is kept in the OS keyring."""
    secret: str | None = field(default=None, repr=False)


def init(answers: Answers, *, ask: bool, force: bool) -> None:
    """Writes intacct.yaml and .env into the working directory.

    With `ask` it asks for whatever is missing, and before it overwrites; otherwise what is missing
    has its default or is an error, and nothing is overwritten without `force`. Raises ConfigError
    and IntacctError; then nothing was written.
    """
    folder = Path.cwd()
    files = [folder / CONFIG_FILE, folder / ".env"]
    there = [each.name for each in files if each.exists()]
    if there and not force:
        overwritten = f"{' and '.join(there)} of {folder} would be overwritten."
        if not ask:
            raise ConfigError(f"{overwritten} Say --force if they may, or go to another folder.")
        if not click.confirm(f"{overwritten} Go on?", default=False):
            raise ConfigError("Nothing was written.")
    _fill_in(answers, ask)
    users, objects = _choose(answers, ask)
    text = _settings(answers, users, objects)
    os.environ.update({CLIENT: answers.client_id or "", SECRET: answers.secret or ""})
    read_settings(text, file=files[0])  # a mistake in it is reported, and nothing is written
    if answers.keyring:
        click.echo(keep_token_key(folder / "data", answers.company or ""))
    lines = [
        f"{CLIENT}={_quoted(answers.client_id or '')}",
        f"{SECRET}={_quoted(answers.secret or '')}",
    ]
    _write(files[1], "\n".join(lines) + "\n", 0o600)
    _write(files[0], text, 0o644)
    click.echo(f"Written: {CONFIG_FILE}, and .env with the secret, which only you may read.")
    if answers.grant == "authorization_code":
        click.echo("Next: `intacct-dagster authorize --all`, then `intacct-dagster doctor`.")
    else:
        click.echo("Next: `intacct-dagster doctor`.")


def _fill_in(answers: Answers, ask: bool) -> None:
    _safe("--redirect-uri", answers.redirect_uri or REDIRECT_URI)

    def given(value: str | None, question: str, flag: str, default: str | None = None) -> str:
        if value is None and ask:
            value = click.prompt(question, default=default)
        value = value if value is not None else default
        if not value:
            raise ConfigError(f"{flag} is missing: give it, or leave --no-input out to be asked.")
        return value

    answers.company = given(answers.company, "Company id", "--company")
    answers.base_url = given(answers.base_url, "API address", "--base-url", SAGE).rstrip("/")
    _safe("--base-url", answers.base_url)
    for name, question, choices in (
        ("scope", "Scope of the app's registration", ("non-production", "production")),
        ("grant", "Grant", ("client_credentials", "authorization_code")),
    ):
        value = getattr(answers, name)
        if value is None and ask:
            value = click.prompt(question, type=click.Choice(choices), default=choices[0])
        setattr(answers, name, value or choices[0])
    answers.client_id = given(answers.client_id, "Client id", "--client-id", os.environ.get(CLIENT))
    answers.secret = os.environ.get(SECRET) or (
        click.prompt("Client secret (not shown)", hide_input=True) if ask else None
    )
    if not answers.secret or "\n" in answers.secret:
        raise ConfigError(
            f"The client secret is missing: put it into {SECRET} of the environment. It has no "
            "flag, because everybody on a machine sees what is on a command line."
        )
    if "${" in answers.secret:
        raise ConfigError(
            "The client secret has `${` in it, which .env cannot hold: make another one at Sage."
        )
    if answers.start is None:
        first = date(datetime.now(UTC).year, 1, 1).isoformat()
        day = click.prompt("First day to read", default=first) if ask else first
        try:
            answers.start = date.fromisoformat(day)
        except ValueError:
            raise ConfigError(f"'{day}' is not a day such as {first}.") from None


def _safe(flag: str, address: str) -> None:
    flaw = address_flaw(address)
    if flaw is not None:
        raise ConfigError(f"{flag}: {flaw}.")


def _choose(answers: Answers, ask: bool) -> tuple[dict[str, str], list[str]]:
    """The users by entity, and the objects."""
    top = answers.discover
    if top is None and ask and not answers.entities:
        consents = ", and consents in a browser" if answers.grant == "authorization_code" else ""
        question = f"Top-level user who may list the entities{consents} (empty: name them by hand)"
        top = click.prompt(question, default="", show_default=False) or None
    if answers.grant == "authorization_code":
        if top is not None:
            return _choose_with_consent(answers, ask, top)
        users = _users(answers, ask, {})
        click.echo("What objects cost is not counted: nobody has consented (--discover USER does).")
        return users, _objects(answers, ask, None, users)
    grant = ClientCredentials(answers.client_id or "", answers.secret or "")
    with Intacct(answers.company or "", answers.base_url or "", grant, {}) as company:
        names = _discovered(company.top_level(top)) if top else {}
    users = _users(answers, ask, names, default=top)
    with Intacct(answers.company or "", answers.base_url or "", grant, users) as company:
        for entity in users:
            company.entity(entity).open_session()
        client = company.top_level(top) if top else company.entity(next(iter(users)))
        return users, _objects(answers, ask, client, users)


def _choose_with_consent(answers: Answers, ask: bool, top: str) -> tuple[dict[str, str], list[str]]:
    """The same, asked with a session that the top-level user consents to, and that ends here."""
    redirect_uri = answers.redirect_uri or REDIRECT_URI
    grant = AuthorizationCode(answers.client_id or "", answers.secret or "", redirect_uri)
    with Intacct(answers.company or "", answers.base_url or "", grant, {}) as company:
        consent = company.ask_consent_of(top)
        click.echo(
            f"Log in to Sage Intacct as {top}, and allow the access: it lists the entities and "
            f"counts the objects, and is ended again. Sage ends other sessions of {top} with it."
        )
        with asking(redirect_uri, paste=answers.paste) as code_of:
            code = code_of(consent)
        company.enter_top_level(top, consent, code=code, state=consent.state)
        try:
            client = company.top_level(top)
            names = _discovered(client)
            if not ask and not answers.entities:
                listed = ", ".join(f"{entity} ({name})" for entity, name in names.items())
                raise ConfigError(
                    f"The company has: {listed}. With authorization_code each needs a Sage user of "
                    "its own, because a user's second consent silently ends the first: name them "
                    "with --entity E110=user."
                )
            users = _users(answers, ask, names)
            return users, _objects(answers, ask, client, users)
        finally:
            with suppress(IntacctError):  # it would end by itself, twelve hours later
                company.revoke(top, None)


def _discovered(client: IntacctClient) -> dict[str, str]:
    """Names of the entities by id, as the top-level user sees them."""
    page = client.query(Query("company-config/entity", ("id", "name"), (), size=LARGEST_PAGE))
    if not page.rows:
        raise ConfigError("That user sees no entity: name them with --entity E110=user.")
    return dict(sorted((str(row["id"]), str(row["name"])) for row in page.rows))


def _users(
    answers: Answers, ask: bool, names: Mapping[str, str], default: str | None = None
) -> dict[str, str]:
    users: dict[str, str] = {}
    for given in answers.entities:
        entity, _, user = given.partition("=")
        user = user or default or ""
        if not entity or not user:
            raise ConfigError(f"--entity {given}: say it like --entity E110=reporting-usa.")
        if names and entity not in names:
            raise ConfigError(f"There is no entity {entity}; the company has: {', '.join(names)}.")
        users[entity] = user
    for entity, name in () if users else names.items():
        user = default or ""
        if ask:
            user = click.prompt(f"User of {entity} ({name}); - leaves it out", default=default)
        if user != "-":
            users[entity] = user
    while ask and not users and not names:
        typed = click.prompt("Entities and their users, like E110=usa E120=can")
        users = {e: u for e, _, u in (part.partition("=") for part in typed.split()) if e and u}
    if not users:
        raise ConfigError("No entity: name them with --entity E110=user, or --discover TOP_USER.")
    return users


def _objects(
    answers: Answers, ask: bool, client: IntacctClient | None, users: Mapping[str, str]
) -> list[str]:
    offered = sorted(client.objects()) if client is not None else sorted(USUAL)
    if answers.objects:
        named = list(dict.fromkeys(answers.objects))
        if client is None:
            return named
        for each in named:
            client.model(each)  # a misspelt name is reported with what may have been meant
        return _costed(client, named, answers.start or date.min, len(users))
    modules = list(answers.modules)
    if not modules and ask:
        known = ", ".join(dict.fromkeys(each.partition("/")[0] for each in offered))
        typed = click.prompt(
            f"Modules ({known}); or `usual`: {len(USUAL)} objects most companies begin with",
            default="usual",
        )
        modules = [each for each in re.split(r"[\s,]+", typed) if each and each != "usual"]
    chosen = [each for each in offered if each.partition("/")[0] in modules]
    empty = [m for m in modules if not any(each.startswith(f"{m}/") for each in chosen)]
    if empty:
        raise ConfigError(f"There is no module {empty[0]} with objects that this user is shown.")
    chosen = chosen or [each for each in USUAL if each in offered]
    if client is not None:
        chosen = _costed(client, chosen, answers.start or date.min, len(users))
    if ask:
        left = set(
            click.prompt("Leave out (names, or nothing)", default="", show_default=False).split()
        )
        chosen = [each for each in chosen if each not in left]
    return chosen


def _costed(client: IntacctClient, objects: Sequence[str], start: date, entities: int) -> list[str]:
    """Shows what a first read of each object costs, by one count each; leaves out what may not be
    read."""
    table = Table("object", "rows", "API transactions", title=f"History from {start} on", box=None)
    total, kept = 0, []
    since: Filter = {"$gte": {CHANGED: f"{start}T00:00:00Z"}}
    for name in objects:
        try:
            try:
                rows = client.count(name, () if name in DIMENSIONS else (since,))
            except RequestRefused:  # no change times: it is read whole
                rows = client.count(name)
        except (AccessDenied, RequestRefused) as error:
            table.add_row(name, "", f"left out: {error.what}")
            continue
        # at least a page for each entity, whether or not there is anything in it
        cost = max(entities, -(-rows // LARGEST_PAGE) + entities - 1)
        total += cost
        kept.append(name)
        table.add_row(name, f"{rows:,}", f"{cost:,}")
    table.add_row("all", "", f"{total:,}")
    Console(highlight=False).print(table)
    return kept


def _settings(answers: Answers, users: Mapping[str, str], objects: Sequence[str]) -> str:
    entities = "\n".join(f"  - {{id: {_scalar(e)}, user: {_scalar(u)}}}" for e, u in users.items())
    named = "\n".join(f"  - {_scalar(each)}" for each in objects)
    return f"""\
# Written by `intacct-dagster init`; docs/configuration.md tells every key. Secrets are in .env.
company: {_scalar(answers.company or "")}
base_url: {_scalar(answers.base_url or "")}
scope: {answers.scope}
auth:
  grant: {answers.grant}
  client_id: ${{{CLIENT}}}
  client_secret: ${{{SECRET}}}
{f"  redirect_uri: {answers.redirect_uri}" + chr(10) if answers.redirect_uri else ""}\
{"  session_key: keyring" + chr(10) if answers.keyring else ""}\
entities:                           # each with the Sage user that may see it
{entities}
start_date: {answers.start}
objects:                            # fields default to everything that the model offers
{named}
warehouse: data/warehouse.duckdb
state: data/state.db                # sessions (encrypted) and the posting ledger
"""


def _scalar(text: str) -> str:
    # JSON strings are YAML; a plain word is easier to read, and `no` or `12` are not plain words
    plain = _PLAIN.fullmatch(text) and not re.fullmatch(
        r"[0-9._:-]+|true|false|yes|no|on|off|null|~", text, re.IGNORECASE
    )
    return text if plain else json.dumps(text, ensure_ascii=False)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _write(path: Path, text: str, mode: int) -> None:
    """Puts a file in place whole: a process that dies here leaves the old one or the new one."""
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        fresh.unlink(missing_ok=True)
