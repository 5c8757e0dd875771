"""docs/configuration.md: every key of intacct.yaml, as the settings describe themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from intacct_dagster.config import Settings

_HEAD = """\
# Every key of `intacct.yaml`

Made by `intacct-dagster settings`; do not edit. What it says stands beside each key in
`intacct_dagster/config/settings.py`.

`${NAME}` anywhere in the file is the environment variable of that name, and `${NAME:-default}` has
a default. A real company's secrets are given in no other way. A key that does not exist and a
value that is not allowed are reported with file, line and key, all at once. Paths are relative to
the file; `INTACCT_CONFIG` names another one than `./intacct.yaml`.
"""


def settings_page() -> str:
    """The page, with a table for the top of the file and for each of its sections."""
    schema = Settings.model_json_schema()
    sections: dict[str, Mapping[str, Any]] = schema["$defs"]
    parts = [_HEAD, *_table("The file", schema)]
    for where, name in _sections(schema, sections, ""):
        parts += _table(f"`{where}`", sections[name])
    return "\n".join(parts)


def _sections(
    schema: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]], before: str
) -> Iterator[tuple[str, str]]:
    """The sections in the order of the file: where each is, and its name."""
    for key, value in schema["properties"].items():
        if (found := _section_of(value)) is not None:
            where = f"{before}{key}{_MANY.get(value.get('type', ''), '')}"
            yield where, found
            yield from _sections(sections[found], sections, f"{where}.")


_MANY = {"array": "[]", "object": ".<name>"}


def _section_of(value: Mapping[str, Any]) -> str | None:
    """The section that the value of a key is, or that each of its values is."""
    inner = value.get("items") or value.get("additionalProperties") or value
    choices = [inner, *inner.get("anyOf", ())] if isinstance(inner, dict) else []
    return next((each["$ref"].rpartition("/")[2] for each in choices if "$ref" in each), None)


def _table(title: str, schema: Mapping[str, Any]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    yield f"## {title}\n\n{schema['description']}\n"
    yield "| Key | Default | What it says |\n|---|---|---|"
    for key, value in schema["properties"].items():
        default = "**needed**" if key in required else _default(value)
        meaning = " ".join([_sentence(value["description"]), _allowed(value)]).strip()
        yield f"| `{key}` | {default} | {meaning} |"
    yield ""


def _default(value: Mapping[str, Any]) -> str:
    given = value.get("default")
    if given is None or _section_of(value) is not None or given == []:
        return ""
    return f"`{given if isinstance(given, str) else json.dumps(given)}`"


def _sentence(description: str) -> str:
    return re.sub(r"\s+", " ", description).replace("|", "\\|")


def _allowed(value: Mapping[str, Any]) -> str:
    """What the key may be, where there is a choice or a bound."""
    choices = [value, *value.get("anyOf", ())]
    for each in choices:
        if names := each.get("enum"):
            return f"One of {', '.join(f'`{name}`' for name in names)}."
        low = each.get("minimum", each.get("exclusiveMinimum"))
        if each.get("type") in {"integer", "number"} and low is not None:
            more = "More than" if "exclusiveMinimum" in each else "At least"
            return f"{low:,} to {each['maximum']:,}." if "maximum" in each else f"{more} {low:,}."
    return ""
