"""An OpenAPI document of what this sandbox serves, made from the catalogue.

For fuzzers and generators of clients: `GET /_sandbox/openapi.json`. Statuses are the ones that can
come; every rejection has the envelope that Sage documents.
"""

from __future__ import annotations

from intacct_sandbox.objects.catalogue import (
    Field,
    FieldGroup,
    Json,
    ObjectCatalogue,
    ObjectType,
    Ref,
)

_ERROR_STATUSES = ("400", "401", "403", "404", "405", "409", "413", "422", "429", "500", "501")
_KEYS = {"type": "string", "pattern": "^[0-9]+(,[0-9]+){0,499}$"}

_QUERY: dict[str, Json] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["object", "fields"],
    "properties": {
        "object": {"type": "string"},
        "fields": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        "filters": {"type": "array", "items": {"type": "object"}},
        "filterExpression": {"type": "string"},
        "filterParameters": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "asOfDate": {"type": "string", "format": "date"},
                "caseSensitiveComparison": {"type": "boolean"},
                "includePrivate": {"type": "boolean"},
            },
        },
        "orderBy": {"type": "array", "items": {"type": "object"}},
        "start": {"type": "integer", "minimum": 1},
        "size": {"type": "integer", "minimum": 1, "maximum": 4000},
    },
}
_STEP: dict[str, Json] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["method", "path"],
    "properties": {
        "method": {"enum": ["GET", "POST", "PATCH", "DELETE"]},
        "path": {"type": "string", "pattern": "^/(objects|services)/"},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        "body": {},
        "resultReference": {"type": "string"},
    },
}
_TOKEN: dict[str, Json] = {
    "type": "object",
    "required": ["grant_type", "client_id", "client_secret"],
    "properties": {
        "grant_type": {"enum": ["client_credentials", "authorization_code", "refresh_token"]},
        **{
            name: {"type": "string"}
            for name in (
                *("client_id", "client_secret", "username", "code", "redirect_uri"),
                *("refresh_token", "entity_id", "code_verifier"),
            )
        },
    },
}


_TEXT: dict[str, Json] = {"type": "string"}
_TEXTS: dict[str, Json] = {"type": "array", "minItems": 1, "maxItems": 1000, "items": _TEXT}


def _object(required: list[str], **properties: Json) -> dict[str, Json]:
    return {"type": "object", "required": list[Json](required), "properties": properties}


def document(catalogue: ObjectCatalogue, base_url: str) -> dict[str, Json]:
    """Return the document, OpenAPI 3.1."""
    schemas, paths = _service_schemas(), _service_paths()
    for name, type_ in catalogue.items():
        for action in type_.workflows:
            paths[f"/workflows/{name}/{action}"] = {
                "post": _operation(f"{action} {name}", _body("step", many=True))
            }
    for name, type_ in catalogue.items():
        schemas[_schema_name(name)] = _written(catalogue, type_, type_.root)
        paths |= _object_paths(name, type_)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sage Intacct REST API, as the sandbox serves it", "version": "1"},
        "servers": [{"url": base_url}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
        },
    }


def _service_paths() -> dict[str, Json]:
    return {
        "/oauth2/token": {"post": _operation("token", _body("token", form=True), secured=False)},
        "/services/core/query": {"post": _operation("query", _body("query"))},
        "/services/core/composite": {"post": _operation("composite", _body("composite"))},
        "/services/core/export": {"post": _operation("export", _body("export"))},
        "/services/core/model": {
            "get": _operation(
                "model",
                parameters=[_parameter(name) for name in ("name", "type", "filter", "version")],
            )
        },
        "/services/core/view": {"post": _operation("view", _body("view"))},
        "/services/core/allowed-operations/list": {
            "post": _operation("allowed operations", _body("allowed"))
        },
        "/services/core/session/id": {"get": _operation("session id")},
        "/services/company-config/dimensions/list": {"get": _operation("dimensions")},
        "/services/core/async/job-status": {
            "get": _operation("async status", parameters=[_parameter("jobId")])
        },
        "/services/bulk/job/status": {
            "get": _operation("bulk status", parameters=[_parameter("jobId")])
        },
        "/services/delivery/event/count": {"get": _operation("count events")},
        "/services/delivery/event/list": {"get": _operation("list events")},
        "/services/delivery/event/ack": {"post": _operation("acknowledge", _body("ack"))},
        "/oauth2/introspect": {
            "post": _operation("introspect", _body("introspected", form=True), secured=False)
        },
        "/oauth2/revoke": {
            "post": _operation("revoke", _body("revoked", form=True), secured=False)
        },
    }


def _service_schemas() -> dict[str, Json]:
    return {
        "error": _ERROR,
        "token": _TOKEN,
        "view": _object(["key"], key=_TEXT, viewType={"enum": ["user", "system"]}),
        "allowed": _object(["object", "keys"], object=_TEXT, keys=_TEXTS),
        "ack": _object(["ackId"], ackId=_TEXT),
        "introspected": _object(["token"], token=_TEXT, client_id=_TEXT, client_secret=_TEXT),
        "revoked": _object(["token", "client_id"], token=_TEXT, client_id=_TEXT),
        "step": _object(["key"], key=_TEXT, reversedDate={"type": "string", "format": "date"}),
        "query": _QUERY,
        "composite": {"type": "array", "minItems": 2, "maxItems": 10, "items": _STEP},
        "export": {
            "type": "object",
            "required": ["fileType", "query"],
            "properties": {"fileType": {"enum": ["csv", "xlsx"]}, "query": _QUERY},
        },
    }


_ERROR: dict[str, Json] = {
    "description": "One of Intacct's three envelopes.",
    "type": "object",
    "anyOf": [
        {"required": ["ia::result", "ia::meta"]},
        {"required": ["ia::error"]},
        {"required": ["error"]},
    ],
}


def _schema_name(object_: str) -> str:
    return "".join(one if one.isalnum() or one in "-_" else "." for one in object_)


def _reference(schema: str) -> dict[str, Json]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _body(schema: str, *, form: bool = False, many: bool = False) -> Json:
    one = _reference(schema)
    whole: Json = one
    if many:
        whole = {"oneOf": [one, {"type": "array", "minItems": 1, "maxItems": 500, "items": one}]}
    kinds = ("application/json", *(("application/x-www-form-urlencoded",) if form else ()))
    return {"required": True, "content": {kind: {"schema": whole} for kind in kinds}}


def _parameter(name: str, where: str = "query", schema: Json = None) -> Json:
    shown = schema or {"type": "string"}
    return {"name": name, "in": where, "required": where == "path", "schema": shown}


def _operation(
    name: str,
    body: Json = None,
    *,
    parameters: list[Json] | None = None,
    secured: bool = True,
) -> dict[str, Json]:
    rejected: Json = {
        "description": "rejected",
        "content": {"application/json": {"schema": _reference("error")}},
    }
    operation: dict[str, Json] = {
        "operationId": name,
        "responses": {
            **{status: {"description": "done"} for status in ("200", "201", "202", "204", "207")},
            **dict.fromkeys(_ERROR_STATUSES, rejected),
        },
    }
    if body is not None:
        operation["requestBody"] = body
    given = list(parameters or [])
    if secured:
        given.append(_parameter("X-IA-API-Param-Entity", "header"))
    else:
        operation["security"] = []
    if given:
        operation["parameters"] = given
    return operation


def _object_paths(name: str, type_: ObjectType) -> dict[str, Json]:
    schema = _schema_name(name)
    key = _parameter("key", "path", dict[str, Json](_KEYS))
    whole: dict[str, Json] = {"get": _operation(f"list {name}")}
    one: dict[str, Json] = {"get": _operation(f"get {name}", parameters=[key])}
    if "POST" in type_.methods:
        whole["post"] = _operation(f"create {name}", _body(schema, many=True))
    if "PATCH" in type_.methods:
        # What a change needs is another question; its fields are the same.
        anything: Json = {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
        one["patch"] = _operation(f"change {name}", anything, parameters=[key])
    if "DELETE" in type_.methods:
        one["delete"] = _operation(f"delete {name}", parameters=[key])
    return {f"/objects/{name}": whole, f"/objects/{name}/{{key}}": one}


def _written(catalogue: ObjectCatalogue, type_: ObjectType, group: FieldGroup) -> dict[str, Json]:
    """Return the schema of what may be sent for an object, or a group of its fields."""
    properties: dict[str, Json] = {
        name: _value(field) for name, field in group.fields.items() if not field.read_only
    }
    required = [
        name for name, field in group.fields.items() if field.required and not field.read_only
    ]
    for name, ref in group.refs.items():
        if not ref.read_only and not ref.is_owner:
            properties[name] = _refers(ref)
            required += [name] if ref.required else []
    for name, below in group.groups.items():
        inner = _written(catalogue, type_, below)
        if inner["properties"]:
            properties[name] = inner
            required += [name] if inner.get("required") else []
    for name, lines in group.lists.items():
        items = _reference(_schema_name(lines.object)) if lines.object in catalogue else {}
        properties[name] = {"type": "array", "minItems": lines.minimum, "items": items}
        required += [name] if lines.minimum else []
    schema: dict[str, Json] = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    if required:
        schema["required"] = list[Json](required)
    return schema


def _value(field: Field) -> Json:
    if field.enum is not None:
        return {"enum": list(field.enum)}
    shown: dict[str, Json] = {"type": [field.type, "null"] if field.nullable else field.type}
    if field.format in ("date", "date-time"):
        shown["format"] = field.format
    if field.kind == "decimal":
        shown["pattern"] = r"^-?[0-9]{1,14}(\.[0-9]{1,2})?$"
    if field.max_length is not None:
        shown["maxLength"] = field.max_length
    return shown


def _refers(ref: Ref) -> Json:
    texts: Json = {"type": ["string", "null"]}
    return {"type": ["object", "null"], "properties": {"id": texts, "key": texts}}
