"""Pagination that proves itself: read every row that changed in a window, and miss none.

Start with `paginate`. `attempt` explains how pages follow each other, and why the result is
complete.
"""

from intacct_dagster.client.pagination.paginate import (
    ATTEMPTS,
    OnProgress,
    PageSource,
    PaginationResult,
    not_proven_complete,
    paginate,
)
from intacct_dagster.client.pagination.progress import attempt_folder, discard, page_file
from intacct_dagster.client.pagination.proof import PaginationProof
from intacct_dagster.client.pagination.request import PageRequest
from intacct_dagster.client.pagination.window import CHANGED, ChangeWindow

__all__ = [
    "ATTEMPTS",
    "CHANGED",
    "ChangeWindow",
    "OnProgress",
    "PageRequest",
    "PageSource",
    "PaginationProof",
    "PaginationResult",
    "attempt_folder",
    "discard",
    "not_proven_complete",
    "page_file",
    "paginate",
]
