"""Whom to notify of failed runs and checks, and how."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from intacct_dagster.config.section import NonEmpty, SettingsSection

_VARIABLE_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")


class Email(SettingsSection):
    """Notices by e-mail. `user` and `password` are names of environment variables."""

    host: NonEmpty
    """The mail server."""
    port: int = Field(default=587, ge=1, le=65_535)
    """Its port."""
    starttls: bool = True
    """Whether the connection is encrypted, and the server's certificate verified, before anything
    is sent. `false` only for a relay that takes no `user` and `password`."""
    sender: NonEmpty
    """The address that the notices come from."""
    to: tuple[NonEmpty, ...] = Field(min_length=1)
    """The addresses that they go to."""
    user: str | None = None
    """The variable that holds the user's name."""
    password: str | None = None
    """The variable that holds the password."""

    @model_validator(mode="after")
    def _variables_are_names(self) -> Email:
        for each in (self.user, self.password):
            _is_variable(each)
        if (self.user is None) != (self.password is None):
            raise ValueError("`user` and `password` belong together")
        if self.user is not None and not self.starttls:
            raise ValueError(
                "`user` and `password` are sent over verified TLS only: remove `starttls: false`, "
                "or remove `user` and `password`"
            )
        return self


class Notification(SettingsSection):
    """A way to tell people of failed runs and checks: one of `slack`, `http` and `email`.

    `slack` and `http` are names of environment variables that hold an address, which is a secret.
    """

    slack: str | None = None
    """The variable that holds the address of a Slack webhook."""
    http: str | None = None
    """The variable that holds an address that takes JSON."""
    email: Email | None = None
    """A mail server and addresses."""
    severity: Literal["warn", "error"] = "warn"
    """`error` suppresses warnings."""

    @model_validator(mode="after")
    def _is_one_way(self) -> Notification:
        if sum(each is not None for each in (self.slack, self.http, self.email)) != 1:
            raise ValueError("say one of slack, http and email; another is another item")
        for each in (self.slack, self.http):
            _is_variable(each)
        return self

    @property
    def way(self) -> str:
        """What it is called."""
        if self.email is not None:
            return "e-mail"
        return "Slack" if self.slack is not None else "HTTP"


def _is_variable(name: str | None) -> None:
    if name is not None and not _VARIABLE_NAME.fullmatch(name):
        # what was written may be the secret itself: it is not repeated
        raise ValueError(
            "what stands here is not the name of an environment variable, such as "
            "ALERTS_SLACK_URL: the secret itself stays in the environment"
        )
