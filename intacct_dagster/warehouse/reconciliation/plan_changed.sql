-- A row is a count: documents that could be posted if the plan had them as reconciled last.
SELECT count(*)
FROM {{reconciled}} AS reconciled
INNER JOIN memory.main.partitions
    ON partitions.entity = reconciled._entity AND partitions.day = reconciled._day
ANTI JOIN (
    SELECT *
    FROM {{plan}} AS planned
    WHERE planned.gate IS NOT NULL OR NOT {{approved}}
) AS aside
    ON aside._entity = reconciled._entity
    AND aside._day = reconciled._day
    AND aside.source_id = reconciled.source_id
ANTI JOIN {{plan}} AS planned
    ON planned._entity = reconciled._entity
    AND planned._day = reconciled._day
    AND planned.source_id = reconciled.source_id
    AND planned.document_hash = reconciled.payload_hash
WHERE reconciled.payload IS NOT NULL AND reconciled.status IN ({{statuses}})
