"""The model service: `GET /services/core/model`.

Shape, key order and the traps (`required` is always false, `lists` is an array when empty) as
recorded live 2026-03; an unknown object is 200 with nothing (fixture of a client).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from intacct_sandbox.control.behaviours import Behaviours
from intacct_sandbox.errors import rejections
from intacct_sandbox.errors.envelopes import success
from intacct_sandbox.objects.catalogue import (
    Field,
    FieldGroup,
    Json,
    ObjectCatalogue,
    ObjectType,
    Ref,
)

_BARE = {"readOnly": False, "writeOnly": False, "required": False, "nullable": True}


def answer(
    catalogue: ObjectCatalogue, behaviours: Behaviours, asked: Mapping[str, str]
) -> dict[str, Json]:
    """Return the model of one object, or without a name the list of all.

    `asked`: the parameters of the request; `type` (`object`, `rootObject`, `ownedObject`, several
    with commas) and `filter`, a pattern for names, choose from the list (Sage's model guide, by
    way of a client). Raises `Rejection` (400).
    """
    if asked.get("version", "v1") not in ("v1", "1"):
        raise rejections.version_not_supported()
    name = asked.get("name")
    if not name:
        pattern = _pattern(asked.get("filter", ""))
        types = frozenset(one.strip() for one in asked.get("type", "").split(",") if one.strip())
        listed: list[Json] = [
            {
                "apiObject": type_.name,
                "type": _type(type_),
                "httpMethods": ",".join(("OPTIONS", *type_.methods)),
            }
            for type_ in catalogue.values()
            if not types or types & {"object", _type(type_)}
            if pattern.search(f"objects/{type_.name}")
        ]
        return success(listed, count=len(listed))
    type_ = catalogue.get(name.removeprefix("objects/"))
    if type_ is None:
        return success([], count=0)
    root = _group(type_.root)
    if type_.owner and behaviours["line_audit"] == "absent" and isinstance(root["groups"], dict):
        root["groups"].pop("audit", None)
    fields = root["fields"]
    if isinstance(fields, dict):
        root["fields"] = {name: one for name, one in fields.items() if name not in type_.unlisted}
    own: dict[str, Json] = (
        {"additionalQueryFilterParameters": dict(type_.query_parameters)}
        if type_.query_parameters
        else {}
    )
    return success(
        {
            **own,
            **root,
            "httpMethods": ",".join(("OPTIONS", *type_.methods)),
            "idempotenceSupported": "POST" in type_.methods,
            "apiObject": f"objects/{type_.name}",
            "type": _type(type_),
            "href": f"/services/core/model?version=v1&name=objects/{type_.name}",
        }
    )


def _pattern(text: str) -> re.Pattern[str]:
    # What could take for ever to match is no name's pattern: no group is repeated in one.
    if len(text) > 200 or re.search(r"\)\s*[*+{]", text):
        raise rejections.bad_request("filter must be a short pattern")
    try:
        return re.compile(text.replace("\\/", "/"), re.IGNORECASE)
    except re.error:
        raise rejections.bad_request("filter must be a pattern of names") from None


def _type(type_: ObjectType) -> str:
    return "ownedObject" if type_.owner else "rootObject"


def _group(group: FieldGroup) -> dict[str, Json]:
    shown: dict[str, Json] = {}
    if group.fields or not group.path:
        shown["fields"] = {name: _field(one) for name, one in sorted(group.fields.items())}
    if group.groups or not group.path:
        shown["groups"] = {name: _group(one) for name, one in group.groups.items()}
    if group.refs or not group.path:
        shown["refs"] = {name: _ref(one) for name, one in group.refs.items()}
    if group.lists:
        shown["lists"] = {name: {"apiObject": one.object} for name, one in group.lists.items()}
    elif not group.path:
        shown["lists"] = []
    return shown


def _field(field: Field) -> dict[str, Json]:
    shown: dict[str, Json] = {}
    if field.default is not None:
        shown["default"] = field.default
    if field.deprecated:
        shown["deprecated"] = True
    if field.enum is not None:
        shown["enum"] = list(field.enum)
    if field.format is not None:
        shown["format"] = field.format
    return {
        **shown,
        "type": field.type,
        "readOnly": field.read_only,
        "writeOnly": field.write_only,
        # Always false on the wire, required or not.
        "required": False,
        "nullable": field.nullable,
        "mutable": field.mutable,
    }


def _ref(ref: Ref) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    described = ref.shows.fields if ref.shows else {}
    for name in sorted(ref.members):
        if name in described:
            fields[name] = _field(described[name])
        elif "." not in name:
            own = name in ("key", "id", ref.sent_as)
            fixed = ref.read_only or not own
            changes = not fixed and ref.mutable
            fields[name] = {"type": "string", **_BARE, "readOnly": fixed, "mutable": changes}
    shown: dict[str, Json] = {"apiObject": ref.object, "fields": fields}
    if ref.shows and ref.shows.groups:
        shown["groups"] = {name: _group(one) for name, one in ref.shows.groups.items()}
    if ref.is_owner:
        shown["isOwner"] = True
    return shown
