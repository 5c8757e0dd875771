"""JSON numbers that a double cannot hold, brought past DuckDB's JSON reader digit by digit.

DuckDB's reader turns every number with a fraction, and every integer of more than 64 bits, into a
double before anything else sees it. A double gives back up to 15 significant digits. So pages with
longer numbers are copied, and in the copy such a number is a string that begins with a mark, in
nested values as well. What is read from the copy is unmarked: then it is the number's own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import msgspec

from intacct_dagster.pages import PAGE, json_bytes
from intacct_dagster.warehouse.sql import literal

#: No text of Intacct begins like this: U+001F is a control character that separates units.
MARK: Final = "\x1fnumber\x1f"
_MARKS_IN_JSON: Final = (rb"\u001fnumber\u001f", rb"\u001Fnumber\u001F")

_LONG: Final = 16  # characters, the decimal point included: more than the 15 digits of a double
_INT64: Final = 2**63
#: As plain digits these are still bounded; others stay as they are, and no column can hold them.
_LARGEST_EXPONENT: Final = 60
#: A digit or point becomes 0, and whatever may stand before a number becomes a colon: then one
#: search finds numbers that are long, and no strings of digits, because those begin with a quote.
_SHAPES: Final = bytes(
    48 if each in b"0123456789." else 58 if each in b":,[-+ \t\r\n" else each for each in range(256)
)
_LONG_NUMBER: Final = b":" + b"0" * _LONG
_LARGE_EXPONENT: Final = re.compile(rb"[0-9][eE][+-]?[0-9]{3}")
_AT_ONCE: Final = 16 * 1024 * 1024


def exact_pages(
    pages: Sequence[Path], into: Path, *, thorough: bool = False
) -> tuple[list[Path], bool]:
    """Return pages whose long numbers are marked: copies in the folder `into` where there are such.

    Args:
        pages: Files that each hold one JSON array.
        into: Where copies go. It is made if there is need of it.
        thorough: Whether numbers with exponents that no double has are looked for as well.

    Returns:
        The pages in the same order, and whether there is a mark on any of them.
    """
    found: list[Path] = []
    any_marked = False
    for number, page in enumerate(pages):
        long, marked = _looked_through(page, thorough=thorough)
        if long:
            into.mkdir(parents=True, exist_ok=True)
            copy = into / f"exact-{number:06}.json"
            if _copy(page, copy):
                found.append(copy)
                any_marked = True
                continue
        found.append(page)
        any_marked = any_marked or marked
    return found, any_marked


def unmarked(value: str, type: str) -> str:
    """Return an SQL expression for a value that was read from marked pages as `type`."""
    in_json = (
        f"regexp_replace(CAST({value} AS VARCHAR),"
        r""" '"\\u001[Ff]number\\u001[Ff]([^"\\]*)"', '\1', 'g')"""
    )
    if type == "JSON":
        return f"CAST({in_json} AS JSON)"
    start = f"concat(chr(31), {literal('number')}, chr(31))"
    return (
        f"CASE WHEN starts_with({value}, {start}) THEN substr({value}, {len(MARK) + 1})"
        f" ELSE {in_json} END"
    )


def _looked_through(page: Path, *, thorough: bool) -> tuple[bool, bool]:
    """Return whether a page may have long numbers, and whether it has marks."""
    long = marked = False
    before = b""
    try:
        for part in json_bytes(page, _AT_ONCE):
            looked = before + part
            long = long or _LONG_NUMBER in looked.translate(_SHAPES)
            long = long or (thorough and _LARGE_EXPONENT.search(looked) is not None)
            marked = marked or any(mark in looked for mark in _MARKS_IN_JSON)
            before = looked[-len(_MARKS_IN_JSON[0]) - _LONG :]
    except (OSError, ValueError):  # DuckDB says what is wrong with it, and the load is refused
        return False, False
    return long, marked


def _copy(page: Path, copy: Path) -> bool:
    """Write a page with its long numbers marked; return whether that was possible."""
    try:
        with copy.open("wb") as out:
            out.write(b"[")
            for number, row in enumerate(_rows(page)):
                out.write(b",\n" if number else b"\n")
                out.write(msgspec.json.encode(_marked(row)))
            out.write(b"\n]")
    except (OSError, ValueError, RecursionError):  # no array of rows: DuckDB says so
        copy.unlink(missing_ok=True)
        return False
    return True


def _rows(page: Path) -> Iterator[Any]:
    decoder = msgspec.json.Decoder(float_hook=_number)
    if page.name.endswith(PAGE):
        yield from decoder.decode(b"".join(json_bytes(page, _AT_ONCE)))
        return
    with page.open("rb") as lines:
        if not _row_by_row(lines.readline(), lines.readline()):
            lines.seek(0)
            yield from decoder.decode(lines.read())
            return
        lines.seek(0)
        for line in lines:
            row = line.strip().removesuffix(b",")
            if row not in (b"", b"[", b"]"):
                yield decoder.decode(row)


def _row_by_row(first: bytes, second: bytes) -> bool:
    """Return whether each row has a line of its own, as DuckDB writes them."""
    try:
        msgspec.json.decode(second.strip().removesuffix(b","))
    except ValueError:
        return False
    return first.strip() == b"["


def _number(text: str) -> object:
    """Return a number with a fraction or an exponent: as it is, or marked if it is long."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) < _LONG and abs(int(exponent or 0)) < 100:
        return msgspec.Raw(text.encode())
    try:
        number = Decimal(text)
    except InvalidOperation:
        return MARK + text
    if exponent and abs(number.adjusted()) <= _LARGEST_EXPONENT:
        return MARK + format(number, "f")
    return MARK + text


def _marked(value: Any) -> Any:
    """Return a value whose integers of more than 64 bits are marked."""
    if type(value) is int:
        return value if -_INT64 <= value < _INT64 else f"{MARK}{value}"
    if type(value) is dict:
        return {name: _marked(each) for name, each in value.items()}
    if type(value) is list:
        return [_marked(each) for each in value]
    return value
