"""Lines of documents, read by the change times of the documents that they belong to.

Two ways, because nobody says whether a query reaches through a reference: where it does, one
pagination of the lines, by the change time of their document; where it does not, a pagination of
the documents and then their lines, by the documents' keys, 500 at a time. Either way the documents
are read once more when the lines are there: only lines of documents that did not change meanwhile
are loaded, so that what is stored of a document is all of one version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from intacct_dagster.client import (
    CHANGED,
    ChangeWindow,
    IntacctClient,
    OnProgress,
    PaginationResult,
)
from intacct_dagster.extraction.columns import KEY
from intacct_dagster.extraction.days import earliest
from intacct_dagster.extraction.details import complete_rows
from intacct_dagster.extraction.keys import read_blocks, values_on_pages
from intacct_dagster.extraction.parents import Parent
from intacct_dagster.extraction.schema import ObjectSchema
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import LinesOfDocuments, LoadProof, join_lines


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
        after = self._documents(parent, window, "documents-again")
        return self._joined(
            object, schema, parent, read, [before] if before is not None else None, [after]
        )

    def of_lines(
        self, object: str, schema: ObjectSchema, parent: Parent, keys: Sequence[str]
    ) -> tuple[LinesOfDocuments, LoadProof]:
        """Read all lines of the documents that the lines with these keys belong to."""
        named = self._by_key(object, (parent.key,), keys, "named")
        documents = values_on_pages([f for each in named for f in each.files], parent.key)
        before = self._by_key(parent.object, (CHANGED,), documents, "documents")
        asked = [*schema.query_paths, parent.key]
        read = self._of_documents(object, asked, parent, documents, "lines")
        after = self._by_key(parent.object, (CHANGED,), documents, "documents-again")
        return self._joined(object, schema, parent, read, before, after)

    def _joined(
        self,
        object: str,
        schema: ObjectSchema,
        parent: Parent,
        read: Sequence[PaginationResult],
        before: Sequence[PaginationResult] | None,
        after: Sequence[PaginationResult],
    ) -> tuple[LinesOfDocuments, LoadProof]:
        """Return the lines of documents that did not change between `before` and `after`."""
        pages: Sequence[Path] = [file for each in read for file in each.files]
        left = 0
        if schema.got:
            rows = complete_rows(
                self._client, self._warehouse, object, schema, pages, into=self._into / "records"
            )
            pages, left = [rows.file], rows.left
        joined = join_lines(
            self._warehouse,
            pages=pages,
            paths=[*schema.query_paths, *schema.record_paths],
            before=[f for each in before for f in each.files] if before is not None else None,
            after=[file for each in after for file in each.files],
            parent_key=parent.key,
            dated_by=parent.changed,
            into=self._into / "joined",
        )
        first = [*(before or ()), *read]
        proofs = [each.proof for each in (*first, *after)]
        proof = LoadProof(
            joined.keys,
            joined.keys,
            requests=sum(each.requests for each in proofs),
            attempts=max((each.attempts for each in proofs), default=1),
        )
        read_at = earliest(at for each in first for at in each.read_at)
        return replace(joined, left=joined.left + left, read_at=read_at), proof

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
        return self._of_documents(
            object, fields, parent, values_on_pages(documents.files, "key"), "lines"
        )

    def _of_documents(
        self, object: str, fields: Sequence[str], parent: Parent, keys: Sequence[str], folder: str
    ) -> list[PaginationResult]:
        return read_blocks(
            self._client,
            object,
            fields,
            parent.key,
            keys,
            into=self._into / folder,
            page_size=self._page_size,
        )

    def _by_key(
        self, object: str, fields: Sequence[str], keys: Sequence[str], folder: str
    ) -> list[PaginationResult]:
        return read_blocks(
            self._client,
            object,
            fields,
            KEY,
            keys,
            into=self._into / folder,
            page_size=self._page_size,
        )
