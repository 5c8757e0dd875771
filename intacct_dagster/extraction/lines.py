"""Lines of documents, read by the change times of the documents that they belong to.

Two ways, because nobody says whether a query reaches through a reference: where it does, one
pagination of the lines, by the change time of their document; where it does not, a pagination of
the documents and then their lines, by the documents' keys, 500 at a time. Either way the documents
are read once more when the lines are there: only lines of documents that did not change meanwhile
are loaded, so that what is stored of a document is all of one version.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from intacct_dagster.client import (
    ChangeWindow,
    IntacctClient,
    OnProgress,
    PaginationResult,
)
from intacct_dagster.extraction.details import complete_rows
from intacct_dagster.extraction.keys import keys_on_page
from intacct_dagster.extraction.schema import ObjectSchema, Parent
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import LinesOfDocuments, LoadProof, join_lines

#: Keys of documents in one query for their lines. Sage documents no limit; of a GET it is 500.
KEYS_IN_A_QUERY = 500
# What is in flight at once is bounded elsewhere: this only keeps enough of it under way.
_BLOCKS_AT_ONCE = 8


class LineReader:
    """Read lines of documents of one entity into files under `into`, `page_size` rows at a time.

    Goes on where it was interrupted, if it finds its own pages `into`.
    """

    def __init__(
        self, client: IntacctClient, warehouse: Warehouse, *, into: Path, page_size: int
    ) -> None:
        self._client = client
        self._warehouse = warehouse
        self._into = into
        self._page_size = page_size

    def read(
        self,
        object: str,
        schema: ObjectSchema,
        parent: Parent,
        window: ChangeWindow,
        on_progress: OnProgress | None = None,
    ) -> tuple[LinesOfDocuments, LoadProof]:
        """Read the lines `object` of the documents that changed in `window`.

        `on_progress` is called where that is one pagination. Raises what pagination raises.

        Returns:
            The lines that can be loaded, and the proof that they are complete.
        """
        asked = [*schema.query_paths, parent.key]
        before: PaginationResult | None = None
        if parent.reached:
            read = [self._of_window(object, asked, parent, window, on_progress)]
        else:
            before = self._documents(parent, window, "documents")
            read = self._by_keys(object, asked, parent, before)
        pages: Sequence[Path] = [file for each in read for file in each.files]
        left = 0
        if schema.got:
            rows = complete_rows(
                self._client, self._warehouse, object, schema, pages, into=self._into / "records"
            )
            pages, left = [rows.file], rows.left
        after = self._documents(parent, window, "documents-again")
        joined = join_lines(
            self._warehouse,
            pages=pages,
            paths=[*schema.query_paths, *schema.record_paths],
            before=before.files if before is not None else None,
            after=after.files,
            parent_key=parent.key,
            dated_by=parent.changed,
            into=self._into / "joined",
        )
        proofs = [each.proof for each in (*read, after, *([before] if before is not None else []))]
        proof = LoadProof(
            joined.keys,
            joined.keys,
            requests=sum(each.requests for each in proofs),
            attempts=max(each.attempts for each in proofs),
        )
        return replace(joined, left=joined.left + left), proof

    def _of_window(
        self,
        object: str,
        fields: Sequence[str],
        parent: Parent,
        window: ChangeWindow,
        on_progress: OnProgress | None,
    ) -> PaginationResult:
        return self._client.paginate(
            object,
            fields,
            window,
            into=self._into / "lines",
            page_size=self._page_size,
            changed=parent.changed,
            on_progress=on_progress,
        )

    def _documents(self, parent: Parent, window: ChangeWindow, folder: str) -> PaginationResult:
        return self._client.paginate(
            parent.object, (), window, into=self._into / folder, page_size=self._page_size
        )

    def _by_keys(
        self, object: str, fields: Sequence[str], parent: Parent, documents: PaginationResult
    ) -> list[PaginationResult]:
        keys = sorted({key for file in documents.files for key in keys_on_page(file)})
        blocks = [
            keys[first : first + KEYS_IN_A_QUERY] for first in range(0, len(keys), KEYS_IN_A_QUERY)
        ]

        def read(number: int) -> PaginationResult:
            return self._client.paginate(
                object,
                fields,
                None,
                into=self._into / f"block-{number:06}",
                page_size=self._page_size,
                filters=({"$in": {parent.key: blocks[number]}},),
            )

        with ThreadPoolExecutor(max_workers=_BLOCKS_AT_ONCE) as pool:
            return list(pool.map(read, range(len(blocks))))
