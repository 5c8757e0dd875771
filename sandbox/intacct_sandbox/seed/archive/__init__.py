"""The large objects of a large company: generated into a DuckDB file, and looked up there.

An archived table is a table like any other: what is asked of it gets the same answer as from one in
memory. What was generated stays in the file as it is; what was written since lies over it.
"""

from __future__ import annotations

from .building import ARCHIVED, Progress
from .store import Archive
from .table import ArchivedTable

__all__ = ["ARCHIVED", "Archive", "ArchivedTable", "Progress"]
