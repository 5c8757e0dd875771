"""Read every row of a request into files, in as many attempts as the proof takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Final

from intacct_dagster.client.errors import (
    About,
    AnswerNotUnderstood,
    PaginationIncomplete,
    WrongEntity,
)
from intacct_dagster.client.pagination.attempt import Attempt
from intacct_dagster.client.pagination.page_reader import Ask, PageReader
from intacct_dagster.client.pagination.prefetch import Prefetcher, Submit
from intacct_dagster.client.pagination.progress import (
    AttemptProgress,
    ProgressJournal,
    attempt_folder,
    discard,
    page_file,
)
from intacct_dagster.client.pagination.proof import NotProven, PaginationProof
from intacct_dagster.client.pagination.request import PageRequest

#: Attempts to read a request, the first included.
ATTEMPTS: Final = 3

#: Called with the number of rows read, and the number that Intacct counted.
OnProgress = Callable[[int, int], object]


@dataclass(frozen=True)
class PageSource:
    """Where pages come from: `ask` returns the page that a query asks for.

    With `submit`, which begins to ask and returns a future, up to `ahead` pages are asked for
    before it is their turn: fewer where they come in less time (seconds of `clock`).
    """

    ask: Ask
    submit: Submit | None = None
    ahead: int = 0
    clock: Callable[[], float] = monotonic


@dataclass(frozen=True)
class PaginationResult:
    """The pages of a proven pagination, each a file with one JSON array of flat rows (see `pages`).

    A key is there once, unless its row changed within the window while pages were read: keep the
    row with the latest change time. There are `proof.distinct_keys` different keys in all.
    `read_at` says of each file when Intacct answered with it, by its own clock (None: not said).
    """

    files: tuple[Path, ...]
    proof: PaginationProof
    read_at: tuple[datetime | None, ...] = ()


def paginate(
    source: PageSource,
    request: PageRequest,
    *,
    into: Path,
    on_progress: OnProgress | None = None,
) -> PaginationResult:
    """Read the rows of `request` into files under `into`.

    Pages cannot be got at before they are proven. A pagination that was interrupted, by what
    `source.ask` raises or by the end of the process, goes on from its last whole page when it is
    called again with the same `into`; when this raises anything of its own, nothing is left behind.

    Args:
        source: Where pages come from.
        request: The rows to read.
        into: The folder for pages, made if it is missing.
        on_progress: Called after each page with the rows read so far and those expected.

    Returns:
        The files and the proof that they are complete.

    Raises:
        PaginationIncomplete: No attempt could be proven.
        WrongEntity: A row belongs to another entity than `request.entity`.
        AnswerNotUnderstood: A page is not what Intacct documents.
    """
    into.mkdir(parents=True, exist_ok=True)
    journal = ProgressJournal(into)
    progress = journal.resume(request.identity)
    reason = ""
    while progress.attempt <= ATTEMPTS:
        try:
            total_count = _attempt(source, request, into, journal, progress, on_progress)
        except NotProven as not_proven:
            reason = str(not_proven)
            discard(into)
            progress = progress.next_attempt()
        except (WrongEntity, AnswerNotUnderstood):
            discard(into)
            raise
        else:
            return _result(into, journal, progress, total_count)
    discard(into)
    changed = f", changed in {request.window}," if request.window is not None else ""
    raise not_proven_complete(
        request.about,
        f"{request.about}{changed} was read {ATTEMPTS} times and never proven complete: {reason}.",
        "Rows may be changing while they are read: run it again, or end the window earlier.",
    )


def not_proven_complete(about: About, what: str, remedy: str) -> PaginationIncomplete:
    """Return the error for rows that no attempt could prove complete."""
    return PaginationIncomplete(what, remedy=remedy, entity=about.entity, object=about.object)


def _attempt(
    source: PageSource,
    request: PageRequest,
    into: Path,
    journal: ProgressJournal,
    progress: AttemptProgress,
    on_progress: OnProgress | None,
) -> int:
    """Make one attempt, and return the count that proves it. Raises NotProven."""
    folder = attempt_folder(into, progress.attempt)
    folder.mkdir(exist_ok=True)
    reader = PageReader(source.ask, source.clock, request, progress)
    prefetcher = Prefetcher(source.submit, source.ahead, request.page_size)
    with closing(prefetcher), journal.writing() as append:

        def save(progress: AttemptProgress) -> None:
            append(progress)
            if on_progress is not None:
                on_progress(progress.distinct, progress.count_before)

        return Attempt(reader, prefetcher, request, folder, progress, save).run()


def _result(
    into: Path, journal: ProgressJournal, progress: AttemptProgress, total_count: int
) -> PaginationResult:
    folder = attempt_folder(into, progress.attempt)
    return PaginationResult(
        tuple(page_file(folder, number) for number in range(1, progress.files + 1)),
        PaginationProof(
            distinct_keys=progress.distinct,
            total_count=total_count,
            pages=progress.pages,
            requests=progress.requests_before + progress.requests,
            attempts=progress.attempt,
            own_rows=progress.own_rows,
        ),
        tuple(journal.read_times(progress)),
    )
