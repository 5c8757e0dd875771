"""A keyring in memory, in the place of the operating system's."""

from __future__ import annotations

import keyring
import keyring.backend
import keyring.errors


class InMemory(keyring.backend.KeyringBackend):
    """A keyring that forgets when the test ends; `locked` as one that nobody unlocked."""

    priority = 1.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise keyring.errors.KeyringLocked("nobody is there to unlock it")
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]
