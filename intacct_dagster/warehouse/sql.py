"""SQL text: the statements in the `.sql` files beside this module, and what is put into them."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
#: Digits of a decimal in 64 bits.
NARROW = 18
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def identifier(*parts: str) -> str:
    """`a.b` -> `"a"."b"`: a name that SQL takes literally, whatever is in it."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def literal(text: str | None) -> str:
    """Return a text as an SQL literal; None as NULL."""
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


def cast(text: str, type: str) -> str:
    """An expression for a text as a DuckDB type, which fails where it is none of that type."""
    return _cast("CAST", text, type)


def try_cast(text: str, type: str) -> str:
    """Return an expression for a text as a DuckDB type, null where it is none of that type."""
    return _cast("TRY_CAST", text, type)


def _cast(how: str, text: str, type: str) -> str:
    wide = f"{how}({text} AS {type})"
    decimal = _DECIMAL.fullmatch(type)
    if decimal is None or int(decimal[1]) <= NARROW or int(decimal[2]) >= NARROW:
        return wide
    # Text to a decimal of 128 bits is fifty times slower than to one of 64 (measured, DuckDB 1.5),
    # and nearly all amounts fit into 64: the wide cast runs for those that do not.
    narrow = f"TRY_CAST({text} AS DECIMAL({NARROW},{decimal[2]}))"
    return f"coalesce(CAST({narrow} AS {type}), {wide})"


def readable_amount(amount: str) -> str:
    """Return an expression that shows an amount as a person writes it: 12.5000000000 -> 12.50."""
    return f"regexp_replace(CAST({amount} AS VARCHAR), '(\\.[0-9][0-9][0-9]*?)0+$', '\\1')"


@cache
def _text(package: str, name: str) -> str:
    return files(package).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def statement(module: str, name: str, **places: str) -> str:
    """Return the statement of `<name>.sql`, beside `module`, with each `{{place}}` filled in.

    Places take SQL (identifiers, expressions), values go in as parameters. Raises KeyError for a
    place that is not given, so a statement is never run with a hole in it.
    """
    return _PLACE.sub(lambda match: places[match.group(1)], _text(module.rpartition(".")[0], name))
