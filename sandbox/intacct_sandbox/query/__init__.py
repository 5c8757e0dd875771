"""The query language: filters, order, groups, pages."""

from __future__ import annotations

from .execution import Page, answer, everything, holding
from .parsing import LARGEST_PAGE, MOST_OBJECTS, read_query

__all__ = [
    "LARGEST_PAGE",
    "MOST_OBJECTS",
    "Page",
    "answer",
    "everything",
    "holding",
    "read_query",
]
