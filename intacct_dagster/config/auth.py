"""Who asks Intacct: the application, its XML access, and the Sage users of the entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from intacct_dagster.config.errors import PlacedError
from intacct_dagster.config.section import (
    Address,
    Id,
    NonEmpty,
    SettingsSection,
    require_time_zone,
    require_unique,
)

_NOT_IN_PARTITIONS = ("|", ",", "/", "\\", "[", "]", "*", '"', "...")


class Auth(SettingsSection):
    """How sessions are opened. The secret's value is never shown, in no representation."""

    grant: Literal["client_credentials", "authorization_code"] = "client_credentials"
    """Sage recommends `client_credentials`, with a Web Services user for each entity; with
    `authorization_code` a person consents once for each."""
    client_id: Id
    """The application's, as registered with Sage."""
    client_secret: NonEmpty = Field(repr=False)
    """Its secret: the name of an environment variable, `${INTACCT_CLIENT_SECRET}`."""
    redirect_uri: Address = "http://127.0.0.1:8766/callback"
    """Where Sage sends the browser after consent; registered with the application. It is https, or
    on this machine."""
    session_key: Literal["file", "keyring"] = "file"
    """Where the key of the stored sessions is, unless INTACCT_TOKEN_KEY has it: `token.key` beside
    the state store, or the OS keyring (`intacct-dagster sessions key` puts it there)."""
    #: the environment variable that held the secret; set by `read_settings`, not in the file
    secret_variable: SkipJsonSchema[str | None] = None


class Xml(SettingsSection):
    """Access to the XML API, for objects that REST does not have (`xml/gl-detail`)."""

    sender_id: Id
    """That of your Web Services subscription."""
    sender_password: NonEmpty = Field(repr=False)
    """Its password: the name of an environment variable, `${INTACCT_SENDER_PASSWORD}`."""
    url: Address | None = None
    """Where the gateway lies. Default: `/ia/xml/xmlgw.phtml` on the host of `base_url`."""
    utc_offset: Annotated[str, StringConstraints(pattern=r"^[+-](0\d|1[0-4]):[0-5]\d$")] = "+00:00"
    """That of the time zone in the preferences of the Sage users, in which the gateway writes
    change times, where it has no daylight saving time."""
    time_zone: Annotated[str, AfterValidator(require_time_zone)] | None = None
    """That time zone by its name, such as `America/Los_Angeles`, in place of `utc_offset`: with
    daylight saving time an offset is wrong for half a year."""
    #: the environment variable that held the password; set by `read_settings`, not in the file
    secret_variable: SkipJsonSchema[str | None] = None

    @model_validator(mode="after")
    def _one_time_zone(self) -> Xml:
        if self.time_zone is not None and "utc_offset" in self.model_fields_set:
            raise ValueError("`utc_offset` and `time_zone` say the same: leave one of them out")
        return self


class Entity(SettingsSection):
    """A legal entity, and the Sage user whose sessions read and post its books.

    One that is `retired` keeps its partitions and their history, and nothing runs for it by itself.
    """

    id: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20)]
    """The entity's id in Intacct, such as `E110`."""
    user: Id
    """The id of the Sage user that has access to it."""
    retired: bool = False
    """Whether nothing runs for it by itself any more."""
    was: Id | None = None
    """The id that it had before it was renamed in Intacct: what was read under it stays its own."""

    @field_validator("id")
    @classmethod
    def _usable_as_partition(cls, value: str) -> str:
        # Dagster joins the dimensions of a partition key with "|", and reads ranges, lists and
        # quotes where a person types keys. Intacct gets the id in an HTTP header, which is ASCII.
        marks = [mark for mark in _NOT_IN_PARTITIONS if mark in value]
        marks += sorted({each for each in value if not " " <= each <= "~"})
        if marks:
            raise ValueError(
                f"an entity id with {' or '.join(map(ascii, marks))} cannot name a partition, or "
                "be sent to Intacct: use its id there, of ASCII letters, digits, '-', '_', '.' and "
                "blanks, and give it such an id if it has none"
            )
        return value


def require_one_user_each(entities: Sequence[Entity]) -> None:
    """Raise PlacedError if two entities have the same Sage user."""
    for position, each in enumerate(entities):
        theirs = [other.id for other in entities if other.user == each.user]
        if theirs.index(each.id) > 0:
            raise PlacedError(
                ("entities", position, "user"),
                f"entities: user {each.user} is given for {' and '.join(theirs)}, and with "
                "authorization_code a user's second consent silently ends the first: give each "
                "entity a Sage user of its own, or use grant: client_credentials",
            )


def require_own_ids(entities: Sequence[Entity]) -> None:
    """Raise PlacedError if two entities have one id, or ids that differ only in case."""
    require_unique("entities", [each.id for each in entities], "id")
    first: dict[str, str] = {}
    for position, each in enumerate(entities):
        other = first.setdefault(each.id.lower(), each.id)
        if other != each.id:
            raise PlacedError(
                ("entities", position, "id"),
                f"entities: {other} and {each.id} differ only in case, and file systems and "
                "DuckDB's names take them for one: give one of them another id in Intacct",
            )


def require_former_ids(entities: Sequence[Entity]) -> None:
    """Raise PlacedError if a former id of an entity is that of another one, or of two.

    Ids that differ only in case are taken for one.
    """
    ids = {each.id.lower(): each.id for each in entities}
    former: set[str] = set()
    for position, each in enumerate(entities):
        if each.was is None:
            continue
        where, was = ("entities", position, "was"), each.was.lower()
        # an entity may be renamed so that only the case of its id changes
        if was in ids and (ids[was] != each.id or each.was == each.id):
            raise PlacedError(
                where,
                f"entities: {each.id} was {each.was}, which is the id of an entity: `was` is for "
                "an id that is no longer in use",
            )
        if was in former:
            raise PlacedError(
                where, f"entities: two entities were {each.was}: only one of them can be"
            )
        former.add(was)
