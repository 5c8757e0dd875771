"""From Intacct's JSON to typed columns, without a wrong digit on the way.

Facts (query answers recorded live 2026-03): rows are flat with dotted keys; amounts are strings
with two decimals, some with ten; percentages are numbers or strings depending on the object;
integers are numbers; keys and ids are strings even when numeric; dates are `YYYY-MM-DD`, moments
`YYYY-MM-DDTHH:MM:SSZ`; missing values are null, and some empty enums are "".

DuckDB's JSON reader turns a number with a fraction into a double before anything else can see it.
A double gives back every number of up to 15 significant digits as it was, so its text is cast to
DECIMAL. Longer ones come as their own text: see `raw/exact_numbers.py`. One that has more decimals
than its column is rounded, and that is noted.

DuckDB's casts take more than Intacct documents: `1_000`, `0x10`, `yes`, `epoch`, `2026-1-5`. A text
converts only if it is written as Sage's OpenAPI files say (read 2026-03): numbers in plain decimal
notation (the pattern of totalEstimateAmount in construction: `12`, `012.5`, `.5`, `12.`), `true` or
`false`, and dates and moments as RFC 3339 has them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from intacct_dagster.warehouse.sql import NARROW, identifier, literal, try_cast
from intacct_dagster.warehouse.tables import AMOUNT, TIME

_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_PRECISION = re.compile(r"decimal-precision-([0-9]|1[0-9]|20)")
_PLAIN = frozenset({"VARCHAR", "JSON", "BIGINT", "BOOLEAN", "DATE", TIME})
_EXACT_DIGITS = 15  # of a number that went through a double

# How values are written; numbers as JSON has them, so that strings keep their quotes.
_JSON_NUMBER = r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_WRITTEN_NUMBER = rf'"-?([0-9]+\.?[0-9]*|\.[0-9]+)"|{_JSON_NUMBER}'
_WRITTEN_WHOLE = rf'"-?[0-9]+(\.0*)?"|{_JSON_NUMBER}'
_WRITTEN_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_OFFSET = "(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])"
_CLOCK = "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_WRITTEN_MOMENT = rf"{_WRITTEN_DATE}{_CLOCK}(\.[0-9]{{1,6}}0*)?{_OFFSET}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a raw table.

    `path` is the key in Intacct's rows ("customer.id"), `name` the analyst's ("customer_id"),
    `type` a DuckDB type: VARCHAR, BIGINT, DECIMAL(p,s), BOOLEAN, DATE, TIMESTAMP WITH TIME ZONE
    (TIMESTAMPTZ is understood) or JSON. Raises ValueError for another type, floats among them.
    """

    name: str
    path: str
    type: str
    comment: str | None = None

    def __post_init__(self) -> None:
        spelled = re.sub(r"\s*([(,)])\s*", r"\1", self.type.strip().upper())
        spelled = {"TIMESTAMPTZ": TIME, "DECIMAL": AMOUNT, "TEXT": "VARCHAR"}.get(spelled, spelled)
        if spelled not in _PLAIN and not _DECIMAL.fullmatch(spelled):
            raise ValueError(f"column {self.name} ({self.path}): no type for raw data: {self.type}")
        object.__setattr__(self, "type", spelled)


def column_name(path: str) -> str:
    """`customer.id` -> `customer_id`, `totalTxnAmount` -> `total_txn_amount`, `n::A` -> `n_a`."""
    parted = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3_\2", path)
    return re.sub(r"[^0-9a-zA-Z]+", "_", parted).strip("_").lower()


def column_type(type: str, format: str | None = None) -> str:
    """Return the DuckDB type of a field, from what Intacct's model says of it (`type`, `format`).

    Fact (model service, recorded live 2026-03): amounts are `string` with a format
    `decimal-precision-N`; dates and moments are `string` with `date` and `date-time`.
    """
    form = (format or "").lower()
    if precision := _PRECISION.fullmatch(form):
        return f"DECIMAL(38,{precision[1]})"
    if form.startswith("decimal") or type == "number":
        return AMOUNT
    named = {"date": "DATE", "date-time": TIME}.get(form)
    return named or {
        "integer": "BIGINT",
        "boolean": "BOOLEAN",
        "array": "JSON",
        "object": "JSON",
    }.get(type, "VARCHAR")


def column_for(
    path: str, type: str, format: str | None = None, comment: str | None = None
) -> Column:
    """Return a field of Intacct's model as a column: analyst's name, DuckDB type, description."""
    return Column(column_name(path), path, column_type(type, format), comment)


def read_columns(columns: Sequence[Column], *, exact: bool = True) -> str:
    """Return the `columns` argument of `read_json`: what each key is read as, before it is typed.

    `exact` is what `typed` and `flaw` take; without it it is what `plain` takes.
    """
    kinds = {column.path: read_as(column, exact=exact) for column in columns}
    return "{" + ", ".join(f"{literal(path)}: '{kind}'" for path, kind in kinds.items()) + "}"


def no_rows(columns: Sequence[Column]) -> str:
    """A relation with the columns that `read_json` would give, and no row: a day without pages."""
    nulls = ", ".join(
        f"CAST(NULL AS {read_as(column)}) AS {identifier(column.path)}" for column in columns
    )
    return f"(SELECT {nulls} WHERE false)"


def read_as(column: Column, *, exact: bool = True) -> str:
    """Return the type as which a column's values are read, before they are typed."""
    # As JSON a string keeps its quotes, so that "12.50" and 12.50 stay distinct.
    return "JSON" if column.type == "JSON" or (exact and _is_number(column)) else "VARCHAR"


def _is_number(column: Column) -> bool:
    return column.type == "BIGINT" or column.type.startswith("DECIMAL")


def _text(column: Column) -> str:
    sent = identifier(column.path)
    text = f"trim({sent}, '\"')" if _is_number(column) else sent
    return f"nullif({text}, '')"


def typed(column: Column) -> str:
    """Return the column's value, or null where the text is none of its type (see `flaw`)."""
    if column.type in {"VARCHAR", "JSON"}:
        return identifier(column.path)
    return try_cast(_text(column), column.type)


def flaw(column: Column) -> str | None:
    """A condition: the JSON value would not arrive as it is. None if every value may come."""
    sent, text, value = identifier(column.path), _text(column), typed(column)
    written = _written(column)
    if written is None:
        return None
    unread = f"({value} IS NULL OR NOT {written})"
    decimal = _DECIMAL.fullmatch(column.type)
    if decimal is not None:
        unread = f"({unread} OR {_loses_digits(sent, value, int(decimal[2]))})"
    elif column.type == "BIGINT":
        # DuckDB would round: 5.0 may come, 5.7 may not
        broken = f"regexp_matches({text}, '[.eE]') AND TRY_CAST({text} AS {AMOUNT}) <> {value}"
        unread = f"({unread} OR ({broken}))"
    elif (years := _years(column)) is not None:
        unread = f"({unread} OR NOT {years})"
    return f"({text} IS NOT NULL AND {unread})"


def _written(column: Column) -> str | None:
    """A condition: the value is written as Intacct writes those of the type; None for texts."""
    sent, text = identifier(column.path), _text(column)
    if column.type == "BIGINT":
        return f"regexp_full_match({sent}, '{_WRITTEN_WHOLE}')"
    if column.type.startswith("DECIMAL"):
        return f"regexp_full_match({sent}, '{_WRITTEN_NUMBER}')"
    if column.type == "BOOLEAN":
        return f"(lower({text}) IN ('true', 'false'))"
    if column.type == "DATE":
        return f"regexp_full_match({text}, '{_WRITTEN_DATE}')"
    if column.type == TIME:
        return f"regexp_full_match({text}, '{_WRITTEN_MOMENT}')"
    return None


def _years(column: Column) -> str | None:
    """A condition: the value is of the years 1 to 9999, as in other programs; None for no times."""
    if column.type not in ("DATE", TIME):
        return None
    first, end = (f"CAST('{day}' AS {column.type})" for day in ("0001-01-01", "10000-01-01"))
    return f"({typed(column)} >= {first} AND {typed(column)} < {end})"


def reason(column: Column) -> str:
    """Return an expression for why a value has a `flaw`, or was `rounded`, in words."""
    sent, text, value = identifier(column.path), _text(column), typed(column)
    decimal = _DECIMAL.fullmatch(column.type)
    if decimal is not None:
        whole = int(decimal[1]) - int(decimal[2])
        return (
            f"CASE WHEN NOT {_written(column)} THEN 'not a number'"
            f" WHEN {value} IS NULL THEN 'too many digits: more than {whole} before the point'"
            f" ELSE 'too many digits: more than {decimal[2]} decimals' END"
        )
    if column.type == "BIGINT":
        number = f"regexp_full_match({sent}, '{_WRITTEN_NUMBER}')"
        return (
            f"CASE WHEN NOT {number} THEN 'not a number'"
            f" WHEN regexp_matches({text}, '[.]0*[1-9]|[eE]-') THEN 'not a whole number'"
            " ELSE 'too many digits: not within 64 bits' END"
        )
    if column.type == "BOOLEAN":
        return "'neither true nor false'"
    if column.type == "DATE":
        return (
            f"CASE WHEN {_written(column)} THEN 'no such date' ELSE 'not written as YYYY-MM-DD' END"
        )
    shape = f"{_WRITTEN_DATE}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}"
    return (
        f"CASE WHEN {_written(column)} THEN 'no such date'"
        rf" WHEN regexp_full_match({text}, '{shape}(\.[0-9]+)?') THEN 'no time zone'"
        rf" WHEN regexp_full_match({text}, '{_WRITTEN_DATE}{_CLOCK}\.[0-9]{{7,}}{_OFFSET}')"
        " THEN 'too many digits: more than 6 decimals of a second'"
        rf" WHEN regexp_full_match({text}, '{shape}(\.[0-9]+)?{_OFFSET}') THEN 'no such time'"
        " ELSE 'not written as YYYY-MM-DDTHH:MM:SSZ' END"
    )


def _significant(sent: str) -> str:
    return f"length(trim(regexp_replace({sent}, '[eE].*$|[^0-9]', '', 'g'), '0'))"


def rounded(column: Column) -> str | None:
    """A condition: the JSON number is a long one with more decimals than are kept, and is rounded.

    Long ones are often results of a division, whose further digits say nothing.
    """
    decimal = _DECIMAL.fullmatch(column.type)
    if decimal is None:
        return None
    sent = identifier(column.path)
    return (
        f"({sent} NOT LIKE '\"%' AND {_significant(sent)} > {_EXACT_DIGITS}"
        f" AND regexp_matches({sent}, '\\.[0-9]{{{decimal[2]}}}0*[1-9]'))"
    )


def strict(column: Column) -> str:
    """Return the value of `typed`; a value that would not arrive as it is stops the statement."""
    conditions = [each for each in (flaw(column), rounded(column)) if each is not None]
    if not conditions:
        return typed(column)
    condition = " OR ".join(f"coalesce({each}, false)" for each in conditions)
    return f"CASE WHEN {condition} THEN {_stop(column)} ELSE {typed(column)} END"


def lenient(column: Column) -> str:
    """Return the value of `typed`; null where it would not arrive as it is."""
    condition = flaw(column)
    if condition is None:
        return typed(column)
    return f"CASE WHEN {condition} THEN NULL ELSE {typed(column)} END"


def plain(column: Column) -> str:
    """The same for values written as nearly all are, at a third of the cost; others stop it, too.

    A number is plain if it has at most 15 digits, no exponent and nothing to be rounded away: so it
    does not matter whether it came as a string or as a JSON number.
    """
    sent = identifier(column.path)
    decimal = _DECIMAL.fullmatch(column.type)
    if decimal is not None and int(decimal[2]) < NARROW:
        narrow = f"TRY_CAST({sent} AS DECIMAL({min(NARROW, int(decimal[1]))},{decimal[2]}))"
        short = f"strlen({sent}) <= {_EXACT_DIGITS + 1}"
        digits = f"-?[0-9]+([.][0-9]{{0,{decimal[2]}}}0*)?"
        return (
            f"CASE WHEN CAST({narrow} AS VARCHAR) = {sent} AND {short}"
            f" THEN CAST({narrow} AS {column.type})"
            f" WHEN nullif({sent}, '') IS NULL THEN NULL"
            f" WHEN {short} AND regexp_full_match({sent}, '{digits}')"
            f" THEN CAST({sent} AS {column.type}) ELSE {_stop(column)} END"
        )
    if column.type == "BIGINT":
        whole = f"TRY_CAST({sent} AS BIGINT)"
        return (
            f"CASE WHEN CAST({whole} AS VARCHAR) = {sent} THEN {whole}"
            f" WHEN nullif({sent}, '') IS NULL THEN NULL ELSE {_stop(column)} END"
        )
    if column.type == "BOOLEAN":
        return (
            f"CASE {sent} WHEN 'true' THEN true WHEN 'false' THEN false"
            f" ELSE CASE WHEN nullif({sent}, '') IS NOT NULL THEN {_stop(column)} END END"
        )
    if (years := _years(column)) is not None:
        return (
            f"CASE WHEN {_written(column)} AND {years} THEN {typed(column)}"
            f" WHEN nullif({sent}, '') IS NOT NULL THEN {_stop(column)} END"
        )
    return (
        sent
        if column.type in {"VARCHAR", "JSON"}
        else f"CASE WHEN {sent} IS NOT NULL THEN {_stop(column)} END"
    )


def _stop(column: Column) -> str:
    return f"error({literal(column.path)})"


def _loses_digits(sent: str, value: str, scale: int) -> str:
    # Short texts cannot have too many digits: nearly all amounts end here.
    # A JSON string: no digit other than 0 beyond the scale.
    # A JSON number with a fraction: see the head of this file; a long one is `rounded`.
    return (
        f"(CASE WHEN length({sent}) <= {scale + 2} AND strpos(lower({sent}), 'e') = 0 THEN false"
        f""" WHEN {sent} LIKE '"%'"""
        f" THEN regexp_matches({sent}, '\\.[0-9]{{{scale}}}0*[1-9]')"
        f" WHEN NOT regexp_matches({sent}, '[.eE]') THEN false"
        f" WHEN {_significant(sent)} > {_EXACT_DIGITS} THEN regexp_matches({sent}, '[eE]')"
        f" ELSE CAST({value} AS DOUBLE) <> CAST({sent} AS DOUBLE) END)"
    )
