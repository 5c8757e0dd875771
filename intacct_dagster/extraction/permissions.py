"""Which fields of an object a query of an entity's user may ask for: learnt by asking.

A refusal names one field (recorded live 2026-03). That it always does is not documented: where it
names none, each half of the fields is asked for, and each half of a half that is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from intacct_dagster.client import IntacctClient, Query, RequestRefused
from intacct_dagster.extraction.columns import KEY

_NAMED: Final = re.compile(r"The (\S+) field")
#: What Intacct answers to a query that it understands and refuses; others are not about fields.
_ABOUT_FIELDS: Final = frozenset({400, 409, 422})


def refused_field(error: RequestRefused, asked: Sequence[str]) -> str | None:
    """Return the field that a refusal names, if it is one of those that were asked for."""
    texts = [error.what, *(detail.message for detail in error.details)]
    targets = [detail.target.lstrip("/") for detail in error.details if detail.target]
    named = [match for text in texts for match in _NAMED.findall(text)]
    return next((name.strip() for name in [*named, *targets] if name.strip() in asked), None)


def may_be_about_fields(error: RequestRefused) -> bool:
    """Return whether a refusal that names no field may be one of a field all the same."""
    return error.http_status in _ABOUT_FIELDS


def find_refused(client: IntacctClient, object: str, paths: Iterable[str]) -> set[str]:
    """Return those of these fields that a query refuses.

    A field that a refusal names costs a request. Others cost about 2 * log2(n) each where there are
    few, and never more than two requests for each field that is asked for.

    Raises:
        RequestRefused: A refusal that is about no field: also the key alone is refused, or fields
            are refused only together, such as too many of them.
    """
    asked = sorted(set(paths))
    error, refused = _refusal(client, object, asked)
    if error is None:
        return refused
    if not may_be_about_fields(error) or _refusal(client, object, [KEY])[0] is not None:
        raise error
    return refused | _refused_of(client, object, _without(asked, refused), error)


def _refused_of(
    client: IntacctClient, object: str, paths: Sequence[str], error: RequestRefused
) -> set[str]:
    """Return what is refused of fields that are refused with an error which names none of them."""
    left = [path for path in paths if path != KEY]
    if len(left) == 1:
        return set(left)
    found: set[str] = set()
    for half in (left[: len(left) // 2], left[len(left) // 2 :]):
        again, refused = _refusal(client, object, [KEY, *half])
        found |= refused
        if again is not None:
            found |= _refused_of(client, object, _without(half, refused), again)
    if not found:
        raise error
    return found


def _refusal(
    client: IntacctClient, object: str, paths: Sequence[str]
) -> tuple[RequestRefused | None, set[str]]:
    """Ask for fields of one row, but for those that refusals name.

    Returns:
        A refusal that names none, if there is one, and the fields that were named.
    """
    named: set[str] = set()
    while left := _without(paths, named):
        try:
            client.query(Query(object, left, size=1))
        except RequestRefused as error:
            path = refused_field(error, left)
            if path is None:
                return error, named
            named.add(path)
        else:
            break
    return None, named


def _without(paths: Sequence[str], refused: set[str]) -> list[str]:
    return [path for path in paths if path not in refused]
