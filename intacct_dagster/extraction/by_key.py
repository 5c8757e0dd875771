"""Records that are read by their keys, such as those that a delete scan found us to lack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from intacct_dagster.client import CHANGED, IntacctClient
from intacct_dagster.extraction.days import earliest
from intacct_dagster.extraction.details import complete_rows
from intacct_dagster.extraction.keys import read_blocks
from intacct_dagster.extraction.lines import LineReader
from intacct_dagster.extraction.schema import ObjectSchema
from intacct_dagster.warehouse import Warehouse
from intacct_dagster.warehouse.raw import LoadProof, RawLoad


def read_by_key(
    load_of: Callable[..., RawLoad],
    client: IntacctClient,
    warehouse: Warehouse,
    object: str,
    schema: ObjectSchema,
    keys: Sequence[str],
    *,
    into: Path,
    page_size: int,
) -> RawLoad:
    """Return a load of the records with these keys, as many of them as Intacct has.

    Of lines it is all lines of their documents. `load_of` makes the load; pages go into the folder
    `into`. Raises what pagination raises.
    """
    if schema.parent is not None:
        reader = LineReader(client, warehouse, into=into, page_size=page_size)
        lines, proof = reader.of_lines(object, schema, schema.parent, keys)
        return load_of(
            files=(lines.file,),
            read_at=(lines.read_at,),
            proof=proof,
            left=lines.left,
            dated_by=schema.parent.changed,
            parents=lines.parents,
        )
    read = read_blocks(
        client, object, schema.query_paths, "key", keys, into=into, page_size=page_size
    )
    files = [file for each in read for file in each.files]
    times = [at for each in read for at in each.read_at]
    found = sum(each.proof.distinct_keys for each in read)
    proof = LoadProof(
        found,
        sum(each.proof.total_count for each in read),
        sum(each.proof.requests for each in read),
    )
    if not schema.got:
        return load_of(files=files, read_at=times, proof=proof, dated_by=CHANGED)
    rows = complete_rows(client, warehouse, object, schema, files, into=into / "records")
    return load_of(
        files=(rows.file,),
        read_at=(earliest(times),),
        proof=replace(proof, distinct_keys=rows.keys),
        left=found - rows.keys,
        dated_by=CHANGED,
    )
