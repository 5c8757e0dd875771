"""Reads the body of a POST or PATCH by the catalogue: names, types, choices, what must be there.

What is wrong with the form of a body is found here, all of it at once (400, REST-1064); what is
wrong with its sense is the business of `rules`.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from types import UnionType
from typing import Literal, cast

from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import RejectionDetail
from intacct_sandbox.objects.catalogue import (
    Field,
    FieldGroup,
    Json,
    LineList,
    ObjectCatalogue,
    ObjectType,
    Ref,
)

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?")
_LARGEST = 2**53  # the largest number that every JSON reader keeps exact

Purpose = Literal["create", "change"]


@dataclass
class Given:
    """What a body says about one record."""

    type: ObjectType
    at: str
    """JSON pointer to the record within its item."""
    values: dict[str, Json] = field(default_factory=dict)
    """Field path -> value as it will be stored."""
    refs: dict[str, dict[str, str] | None] = field(default_factory=dict)
    """Reference path -> `{"id": …}` or `{"key": …}`; None empties it."""
    lines: list[Given] | None = None
    inline: dict[str, dict[str, Json]] = field(default_factory=dict)
    """Reference path -> what is sent through it for the other record."""
    key: str | None = None
    """On a line of a document that is changed: the line it is about; None adds one."""
    deleted: bool = False
    """On such a line: whether it is to go (`"ia::operation": "delete"`)."""


def read_record(
    catalogue: ObjectCatalogue, type_: ObjectType, body: Json, purpose: Purpose
) -> Given:
    """Read one item; raises `Rejection` with everything that is wrong with its form."""
    problems: list[RejectionDetail] = []
    reader = _PayloadReader(catalogue, purpose, problems)
    given = reader.record(type_, body, "")
    if problems:
        raise rejections.payload_errors(problems)
    return given


def _wrong(message: str, at: str) -> RejectionDetail:
    return RejectionDetail("invalidParameter", message, "SBX-1110", target=at)


class _PayloadReader:
    def __init__(
        self, catalogue: ObjectCatalogue, purpose: Purpose, problems: list[RejectionDetail]
    ) -> None:
        self._catalogue = catalogue
        self._purpose = purpose
        self._problems = problems

    def record(self, type_: ObjectType, body: Json, at: str) -> Given:
        given = Given(type_, at)
        if not isinstance(body, dict):
            self._problems.append(_wrong("A record must be an object", at or "/"))
            return given
        self._group(given, type_.root, body, at)
        if self._purpose == "create":
            self._require(given, body)
        return given

    def _group(self, given: Given, group: FieldGroup, body: Mapping[str, Json], at: str) -> None:
        for name, value in body.items():
            here = f"{at}/{name}"
            if name in group.fields:
                self._field(given, group.fields[name], value, here)
            elif name in group.refs:
                self._ref(given, group.refs[name], value, here)
            elif name in group.groups:
                self._below(given, group.groups[name], value, here)
            elif name in group.lists:
                self._list(given, group.lists[name], value, here)
            else:
                self._problems.append(
                    RejectionDetail(
                        "invalidRequest",
                        f"{here} is not a valid field",
                        "REST-1043",
                        "IA.NOT_A_VALID_FIELD",
                        {"FIELD": here},
                        target=here,
                    )
                )

    def _below(self, given: Given, group: FieldGroup, value: Json, at: str) -> None:
        if isinstance(value, dict):
            self._group(given, group, value, at)
        elif value is not None:
            self._problems.append(_wrong(f"{at} must be an object", at))

    def _list(self, given: Given, lines: LineList, value: Json, at: str) -> None:
        if not isinstance(value, list):
            self._problems.append(_wrong(f"{at} must be a list", at))
        elif lines.kept:
            given.values[lines.path] = value
        else:
            type_ = self._catalogue[lines.object]
            given.lines = [
                self._line(type_, line, f"{at}/{number}") for number, line in enumerate(value)
            ]

    def _line(self, type_: ObjectType, body: Json, at: str) -> Given:
        """Return a line: new in a new document; in one that is changed, new only without a key."""
        if self._purpose == "create" or not isinstance(body, dict):
            return self.record(type_, body, at)
        rest = {name: one for name, one in body.items() if name not in ("key", "ia::operation")}
        key, operation = body.get("key"), body.get("ia::operation")
        if key is not None and not isinstance(key, str):
            self._problems.append(_wrong(f"{at}/key must be a text", f"{at}/key"))
        if operation is not None and (operation != "delete" or key is None):
            message = f'{at}/ia::operation is "delete", beside the key of a line'
            self._problems.append(_wrong(message, f"{at}/ia::operation"))
        if operation == "delete":
            return Given(type_, at, key=str(key), deleted=True)
        self._purpose = "create" if key is None else "change"
        given = self.record(type_, rest, at)
        self._purpose = "change"
        given.key = None if key is None else str(key)
        return given

    def _read_only(self, at: str) -> None:
        self._problems.append(
            RejectionDetail(
                "invalidRequest",
                f"{at} is a read-only field",
                "REST-1050",
                "IA.READ_ONLY_FIELD",
                {"FIELD": at},
                target=at,
            )
        )

    def _field(self, given: Given, field_: Field, value: Json, at: str) -> None:
        frozen = self._purpose == "change" and not field_.mutable
        if field_.read_only or frozen:
            self._read_only(at)
            return
        if value is None and field_.required and self._purpose == "change":
            self._problems.append(_wrong(f"{at} cannot be empty", at))
            return
        try:
            given.values[field_.path] = _stored(field_, value)
        except _Unfit as error:
            self._problems.append(_wrong(f"{at} is not valid: {error}", at))

    def _ref(self, given: Given, ref: Ref, value: Json, at: str) -> None:
        if ref.read_only:
            self._read_only(at)
            return
        if value is None:
            self._empty(given, ref, at)
            return
        if not isinstance(value, dict) or not value:
            self._problems.append(_wrong(f'{at} must be {{"id": …}} or {{"key": …}}', at))
            return
        names = ("key", "id", ref.sent_as) if ref.sent_as else ("key", "id")
        if ref.inline:
            rest = {name: one for name, one in value.items() if name not in (*names, "href")}
            if rest:
                given.inline[ref.path] = rest
            value = {name: one for name, one in value.items() if name not in rest}
            if not value:
                given.refs[ref.path] = None
                return
        self._others(given, ref, [name for name in value if name not in names], at)
        named = {
            "id" if name == ref.sent_as else name: value[name] for name in names if name in value
        }
        if all(one is None for one in named.values()):
            self._empty(given, ref, at)
            return
        texts = {name: one for name, one in named.items() if one is not None}
        for name, one in texts.items():
            # `{"id": ""}` is rejected live, `{"id": null}` is taken as empty.
            if not isinstance(one, str) or not one:
                self._problems.append(_wrong(f"{at}/{name} must be a text", f"{at}/{name}"))
                return
        given.refs[ref.path] = {name: str(one) for name, one in texts.items()}

    def _others(self, given: Given, ref: Ref, names: list[str], at: str) -> None:
        """Reject the members of a reference that cannot be written."""
        for name in names:
            if name in ref.members:
                self._read_only(f"{at}/{name}")
            else:
                self._group(given, FieldGroup(path=ref.path), {name: None}, at)

    def _empty(self, given: Given, ref: Ref, at: str) -> None:
        if ref.required and self._purpose == "change":
            self._problems.append(_wrong(f"{at} cannot be empty", at))
        else:
            given.refs[ref.path] = None

    def _require(self, given: Given, body: Mapping[str, Json]) -> None:
        numbered = given.type.numbering.field if given.type.numbering else None
        missing = [
            field_.path
            for field_ in given.type.fields.values()
            if field_.required
            and field_.path != numbered
            and given.values.get(field_.path) is None
            and not self._was_wrong(f"{given.at}/{field_.path.replace('.', '/')}")
        ]
        missing += [
            ref.path
            for ref in given.type.refs.values()
            if ref.required
            and given.refs.get(ref.path) is None
            and not self._was_wrong(f"{given.at}/{ref.path.replace('.', '/')}")
        ]
        lines = given.type.lines
        if (
            lines
            and len(given.lines or ()) < lines.minimum
            and not self._was_wrong(f"{given.at}/{lines.name}")
        ):
            missing.append(lines.name)
        missing += [
            path
            for path, (other, wanted) in given.type.required_if.items()
            if given.values.get(other) == wanted and not _is_given(given, path)
        ]
        missing += [
            paths[0]
            for paths in given.type.one_of
            if not any(_is_given(given, path) for path in paths)
        ]
        for path in missing:
            at = f"{given.at}/{path.replace('.', '/')}"
            self._problems.append(
                RejectionDetail(
                    "invalidRequest",
                    f"The required field {at} is missing",
                    "SBX-1111",
                    "IA.REQUIRED_FIELD_MISSING",
                    {"FIELD": at},
                    target=at,
                )
            )

    def _was_wrong(self, at: str) -> bool:
        return any(
            one.target is not None and (one.target == at or one.target.startswith(f"{at}/"))
            for one in self._problems
        )


def _is_given(given: Given, path: str) -> bool:
    return given.values.get(path) is not None or given.refs.get(path) is not None


class _Unfit(Exception):
    """A value that does not fit its field; the message says why."""


def _stored(field: Field, value: Json) -> Json:
    """Return the value as it is stored; raises `_Unfit` for one that does not fit the field."""
    if value is None:
        if field.enum is not None and None not in field.enum:
            raise _Unfit("it cannot be empty")
        return None
    match field.kind:
        case "boolean":
            if not isinstance(value, bool):
                raise _Unfit("it must be true or false")
            return value
        case "integer":
            return _bounded(value, int, "a whole number")
        case "number":
            return _bounded(value, int | float, "a number")
        case "decimal":
            return _amount(value, 2 if field.format == "decimal-precision-2" else 10)
    if not isinstance(value, str):
        raise _Unfit("it must be a text")
    return _text(field, value)


def _bounded(value: Json, kind: type[int] | UnionType, what: str) -> Json:
    if isinstance(value, bool) or not isinstance(value, kind):
        raise _Unfit(f"it must be {what}")
    if not abs(cast(float, value)) < _LARGEST:
        raise _Unfit("it is too large")
    return value


def _text(field: Field, value: str) -> str:
    if field.enum is not None and value not in field.enum:
        raise _Unfit("it must be one of " + ", ".join(one or "null" for one in field.enum))
    if field.kind == "date":
        return _day(value)
    if field.format == "base64zip":
        try:
            binascii.a2b_base64(value, strict_mode=True)
        except ValueError:  # binascii.Error is one; characters beyond ASCII are another
            raise _Unfit("it must be base64") from None
    if field.max_length is not None and len(value) > field.max_length:
        raise _Unfit(f"it is longer than {field.max_length} characters")
    return value


def _day(value: str) -> str:
    try:
        # The first test is for what Python takes for a date besides: weeks, other digits.
        day = date.fromisoformat(value) if _DAY.fullmatch(value) else None
    except ValueError:
        day = None
    if day is None or not 1900 <= day.year <= 2199:
        raise _Unfit("it must be a date, YYYY-MM-DD")
    return day.isoformat()


def _amount(value: Json, digits: int) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _Unfit('it must be an amount, such as "12.50"')
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise _Unfit('it must be an amount, such as "12.50"')
    amount = Decimal(str(value))
    if not amount.is_finite() or abs(amount) >= Decimal(10) ** 14:
        raise _Unfit("it is not an amount that can be booked")
    smallest = Decimal(1).scaleb(-digits)
    rounded = amount.quantize(smallest)
    if rounded != amount:
        raise _Unfit(f"it has more than {digits} decimals")
    return f"{rounded:.{digits}f}"
