"""Write docs/configuration.md, every key of intacct.yaml as the settings describe themselves.

Run it with `make configuration`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from intacct_dagster.config import Settings
from intacct_dagster.config.renamed import RENAMED

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"

_HEAD = """\
# Every key of `intacct.yaml`

Made by `make configuration`; do not edit. What it says stands beside each key in
`intacct_dagster/config/`.

`${NAME}` anywhere in the file is the environment variable of that name, and `${NAME:-default}` has
a default. A real company's secrets are given in no other way. Unknown keys and invalid values are
reported with file, line and key, all of them at once. Paths are relative to the file;
`INTACCT_CONFIG` names another one than `./intacct.yaml`.

Old names of keys are accepted for one release, with a warning that names the new one:
{renamed}.
"""


def render() -> str:
    """Return the page, with a table for the top of the file and for each of its sections."""
    schema = Settings.model_json_schema()
    sections: dict[str, Mapping[str, Any]] = schema["$defs"]
    parts = [_HEAD.replace("{renamed}", _renamed()), *_table("The file", schema)]
    for where, name in _sections(schema, sections, ""):
        parts += _table(f"`{where}`", sections[name])
    return "\n".join(parts)


def _renamed() -> str:
    return ",\n".join(
        f"`{'.'.join([*('<name>' if step == '*' else step for step in steps), old])}` → `{new}`"
        for steps, old, new in RENAMED
    )


def _sections(
    schema: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]], before: str
) -> Iterator[tuple[str, str]]:
    """Yield the sections in the order of the file: where each is, and its name."""
    for key, value in schema["properties"].items():
        if (found := _section_of(value)) is not None:
            where = f"{before}{key}{_MANY.get(value.get('type', ''), '')}"
            yield where, found
            yield from _sections(sections[found], sections, f"{where}.")


_MANY = {"array": "[]", "object": ".<name>"}


def _section_of(value: Mapping[str, Any]) -> str | None:
    """Return the section that the value of a key is, or that each of its values is."""
    inner = value.get("items") or value.get("additionalProperties") or value
    choices = [inner, *inner.get("anyOf", ())] if isinstance(inner, dict) else []
    return next((each["$ref"].rpartition("/")[2] for each in choices if "$ref" in each), None)


def _table(title: str, schema: Mapping[str, Any]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    yield f"## {title}\n\n{schema['description']}\n"
    yield "| Key | Default | What it says |\n|---|---|---|"
    for key, value in schema["properties"].items():
        default = "**needed**" if key in required else _default(value)
        says = " ".join([_sentence(value["description"]), _allowed(value)]).strip()
        yield f"| `{key}` | {default} | {says} |"
    yield ""


def _default(value: Mapping[str, Any]) -> str:
    given = value.get("default")
    if given is None or _section_of(value) is not None or given == []:
        return ""
    return f"`{given if isinstance(given, str) else json.dumps(given)}`"


def _sentence(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _allowed(value: Mapping[str, Any]) -> str:
    """Return what the key may be, where there is a choice or a bound."""
    choices = [value, *value.get("anyOf", ())]
    for each in choices:
        if names := each.get("enum"):
            return f"One of {', '.join(f'`{name}`' for name in names)}."
        low = each.get("minimum", each.get("exclusiveMinimum"))
        if each.get("type") in {"integer", "number"} and low is not None:
            more = "More than" if "exclusiveMinimum" in each else "At least"
            return f"{low:,} to {each['maximum']:,}." if "maximum" in each else f"{more} {low:,}."
    return ""


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
