"""The key of the stored sessions: in the environment, in the OS keyring, or in a file.

INTACCT_TOKEN_KEY goes before the rest. A key that was in use is never replaced or removed here.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Literal

from cryptography.fernet import Fernet

from intacct_dagster.state.errors import StateError

KEY_VARIABLE = "INTACCT_TOKEN_KEY"
#: Under what the OS keyring has the keys; each is called as its company.
KEYRING_SERVICE = "intacct-dagster"
FILE = "token.key"

Place = Literal["file", "keyring"]


class TokenKeyWrong(StateError):
    """The key at hand is none, or not the one that a session was stored with. Nothing changed."""


class TokenKeyMissing(StateError):
    """The OS keyring has no key of the company, or there is no keyring to ask. Nothing changed."""


def token_key(folder: Path, place: Place = "file", company: str = "") -> bytes:
    """The key: from INTACCT_TOKEN_KEY, else from the OS keyring or from `folder`/token.key.

    The file is made (mode 0600) where it is missing; the keyring gets a key from a person only, by
    `keep_token_key`. Raises TokenKeyWrong for a malformed key, and TokenKeyMissing.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return _checked(given.encode(), KEY_VARIABLE)
    if place == "keyring":
        return _checked(_kept(company), f"The OS keyring ({KEYRING_SERVICE}, {company})")
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    _write_once(path, Fernet.generate_key())
    return _checked(path.read_bytes().strip(), str(path))


def keep_token_key(folder: Path, company: str) -> str:
    """Sees to it that the OS keyring has a key of the company; what was done, in words.

    A key that is there stays. One that `folder`/token.key has is taken along, so that what it
    encrypted can still be read; the file stays, for a person to remove. Raises TokenKeyWrong and
    TokenKeyMissing.
    """
    if os.environ.get(KEY_VARIABLE):
        return f"{KEY_VARIABLE} is set and goes before the OS keyring, which was not asked."
    keyring = _keyring(company)
    name = f"the OS keyring ({KEYRING_SERVICE}, {company})"
    file = folder / FILE
    there = _asked(keyring, company)
    if there is not None:
        _checked(there, name[0].upper() + name[1:])
        return f"The key of the sessions is in {name}."
    moved = file.exists()
    key = _checked(file.read_bytes().strip(), str(file)) if moved else Fernet.generate_key()
    try:
        keyring.set_password(KEYRING_SERVICE, company, key.decode())
    except keyring.errors.KeyringError as error:
        raise _unusable(company, error) from None
    if _asked(keyring, company) != key:
        raise TokenKeyMissing(
            f"The OS keyring took the key of {company}, and does not give it back.\n{_OTHERWISE}"
        )
    if moved:
        return (
            f"The key of {file} is now in {name} as well, and is used from there. Remove the file "
            "once it is in your backups."
        )
    return f"A key for the sessions was made and is in {name}."


_OTHERWISE = (
    f"Unlock it, or set {KEY_VARIABLE} to the key, or say `auth: {{session_key: file}}` in "
    "intacct.yaml."
)


def _kept(company: str) -> bytes:
    key = _asked(_keyring(company), company)
    if key is None:
        raise TokenKeyMissing(
            f"The OS keyring of this user has no key for the sessions of {company}.\n"
            f"`intacct-dagster sessions key` makes one; or set {KEY_VARIABLE} (where the key is, "
            f"`keyring get {KEYRING_SERVICE} {company}` prints it)."
        )
    return key


def _asked(keyring: ModuleType, company: str) -> bytes | None:
    try:
        found = keyring.get_password(KEYRING_SERVICE, company)
    except keyring.errors.KeyringError as error:
        raise _unusable(company, error) from None
    return None if found is None else str(found).encode()


def _keyring(company: str) -> ModuleType:
    try:
        import keyring  # noqa: PLC0415 - an extra, and it looks for a backend as it is imported
        import keyring.errors  # noqa: PLC0415
    except ImportError:
        raise TokenKeyMissing(
            f"The key for the sessions of {company} is to be in the OS keyring, and the library "
            "for it is not installed.\nInstall `intacct_dagster[keyring]`, or set "
            f"{KEY_VARIABLE}, or say `auth: {{session_key: file}}` in intacct.yaml."
        ) from None
    return keyring


def _unusable(company: str, error: Exception) -> TokenKeyMissing:
    # NoKeyringError is a page of advice: its kind says enough
    return TokenKeyMissing(
        f"There is no OS keyring here that can be used for the sessions of {company} "
        f"({type(error).__name__}).\n{_OTHERWISE}"
    )


def _checked(key: bytes, source: str) -> bytes:
    try:
        Fernet(key)
    except ValueError:
        raise TokenKeyWrong(
            f"{source} does not hold a Fernet key (32 bytes, url-safe base64). "
            "Restore the key that encrypted the stored sessions."
        ) from None
    return key


def _write_once(path: Path, key: bytes) -> None:
    # Written whole under another name and then linked: a process that starts at the same moment
    # sees either no file or all of it, and only one of the two keys wins.
    if path.exists():
        return
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
