"""The key of the stored sessions: in the environment, in the OS keyring, or in a file.

INTACCT_TOKEN_KEY goes before the rest. A key that was in use is replaced by `new_token_key` alone.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
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

#: Seconds for git to say whether it tracks the key.
_GIT_SECONDS = 5.0


class TokenKeyWrong(StateError):
    """The key at hand is none, or not the one that a session was stored with. Nothing changed."""


class TokenKeyMissing(StateError):
    """The OS keyring has no key of the company, or there is no keyring to ask. Nothing changed."""


class TokenKeyExposed(StateError):
    """Others can read the key file, or it is in a git repository. Nothing changed."""


def token_key(folder: Path | None, place: Place = "file", company: str = "") -> bytes:
    """Return the key: INTACCT_TOKEN_KEY, else the OS keyring's or the one in `folder`/token.key.

    The file is made (mode 0600) where it is missing; the keyring gets a key from a person only, by
    `keep_token_key`.

    Args:
        folder: The folder of the state store; None if the store is not a file on this machine.
        place: Where to look if the variable is not set.
        company: The name of the key in the keyring.

    Raises:
        TokenKeyMissing: There is no key, and none is made.
        TokenKeyWrong: What is there is not a key.
        TokenKeyExposed: Others can read the file, or git tracks it.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return _checked(given.encode(), KEY_VARIABLE)
    if place == "keyring":
        return _checked(_kept(company), f"The OS keyring ({KEYRING_SERVICE}, {company})")
    path = _file_in(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _write_once(path, Fernet.generate_key())
    return _read(path)


def new_token_key(
    folder: Path | None, place: Place = "file", company: str = ""
) -> tuple[bytes, str]:
    """Make a key in place of the one in use, and return it with what was done, in words.

    What the old key encrypted cannot be read afterwards. A key in INTACCT_TOKEN_KEY is returned as
    it is: only a person can change it. Arguments and errors are those of `token_key`; a key file
    that others can read is replaced.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given:
        key = _checked(given.encode(), KEY_VARIABLE)
        return key, f"{KEY_VARIABLE} is set: its key is in use, and no other was made."
    key = Fernet.generate_key()
    if place == "keyring":
        _put(_keyring(company), company, key)
        return (
            key,
            f"A new key for the sessions is in the OS keyring ({KEYRING_SERVICE}, {company}).",
        )
    path = _file_in(folder)
    _refuse_tracked(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = _written_beside(path, key)
    os.replace(fresh, path)
    return key, f"A new key for the sessions is in {path}."


def keep_token_key(folder: Path | None, company: str) -> str:
    """Make sure that the OS keyring has a key of the company, and return what was done, in words.

    A key that is there stays. One that `folder`/token.key has is taken along, so that what it
    encrypted can still be read; the file stays, for a person to remove. Raises TokenKeyWrong,
    TokenKeyMissing and TokenKeyExposed.
    """
    if os.environ.get(KEY_VARIABLE):
        return f"{KEY_VARIABLE} is set and goes before the OS keyring, which was not asked."
    keyring = _keyring(company)
    name = f"the OS keyring ({KEYRING_SERVICE}, {company})"
    file = None if folder is None else folder / FILE
    there = _asked(keyring, company)
    if there is not None:
        _checked(there, name[0].upper() + name[1:])
        return f"The key of the sessions is in {name}."
    moved = file is not None and file.exists()
    key = _read(file) if file is not None and moved else Fernet.generate_key()
    _put(keyring, company, key)
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


def _put(keyring: ModuleType, company: str, key: bytes) -> None:
    try:
        keyring.set_password(KEYRING_SERVICE, company, key.decode())
    except keyring.errors.KeyringError as error:
        raise _unusable(company, error) from None
    if _asked(keyring, company) != key:
        raise TokenKeyMissing(
            f"The OS keyring took the key of {company}, and does not give it back.\n{_OTHERWISE}"
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


def _file_in(folder: Path | None) -> Path:
    if folder is None:
        # The working directory of whichever process asks would be no place for it: a key that was
        # made in one was committed.
        raise TokenKeyMissing(
            "The state store is not a file on this machine, so there is no folder beside it for "
            f"the key of the stored sessions.\nSet {KEY_VARIABLE} for every process that uses the "
            'store (`python -c "from cryptography.fernet import Fernet; '
            'print(Fernet.generate_key().decode())"` makes a key), or say '
            "`auth: {session_key: keyring}` in intacct.yaml."
        )
    return folder / FILE


def _read(path: Path) -> bytes:
    """Return the key in a file. Raises TokenKeyWrong and TokenKeyExposed."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        if mode & 0o077:
            raise TokenKeyExposed(
                f"{path} has mode {mode:04o}: others on this machine may read the key of the "
                f"stored sessions.\nRun `chmod 600 {shlex.quote(str(path))}`; if somebody may have "
                "read it, run `intacct-dagster sessions key --new` as well."
            )
        key = file.read().strip()
    _refuse_tracked(path)
    return _checked(key, str(path))


def _refuse_tracked(path: Path) -> None:
    if _git_tracks(path):
        folder, name = shlex.quote(str(path.parent)), shlex.quote(path.name)
        raise TokenKeyExposed(
            f"git tracks {path}: everybody who has the repository has the key of the stored "
            f"sessions.\nRun `git -C {folder} rm --cached {name}`, add `*.key` to .gitignore and "
            "commit. Then run `intacct-dagster sessions key --new`, because the old key stays in "
            "the history."
        )


def _git_tracks(path: Path) -> bool:
    """Return whether git tracks a file; False where there is no git, or it does not answer."""
    place = path.resolve()
    git = shutil.which("git")
    if git is None or not any((each / ".git").exists() for each in place.parents):
        return False
    # Without its variables, which name another repository in a hook. A container often runs as
    # another user than the owner of the work tree, where git says nothing without safe.directory;
    # fsmonitor is the one program of the repository's own that ls-files would start.
    command = [git, "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", str(place.parent)]
    try:
        done = subprocess.run(  # noqa: S603 - the git of PATH
            [*command, "ls-files", "--error-unmatch", "--", place.name],
            env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _write_once(path: Path, key: bytes) -> None:
    # Written whole under another name and then linked: a process that starts at the same moment
    # sees either no file or all of it, and only one of the two keys wins.
    fresh = _written_beside(path, key)
    try:
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()


def _written_beside(path: Path, key: bytes) -> Path:
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return fresh
