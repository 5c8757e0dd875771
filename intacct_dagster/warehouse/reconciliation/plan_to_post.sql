-- A row is a document that may be posted now, or whose record may be changed: the plan has it as it was
-- reconciled last, no gate holds it, and its partition's plan is approved where that is asked for.
SELECT
    planned._entity,
    planned._day,
    planned.source_id,
    planned.action,
    reconciled.amount,
    reconciled.payload,
    planned.change,
    planned.changes_key,
    planned.changes_as_of
FROM {{plan}} AS planned
INNER JOIN memory.main.partitions
    ON partitions.entity = planned._entity AND partitions.day = planned._day
INNER JOIN {{reconciled}} AS reconciled
    ON reconciled._entity = planned._entity
    AND reconciled._day = planned._day
    AND reconciled.source_id = planned.source_id
    AND reconciled.payload_hash = planned.document_hash
WHERE planned.gate IS NULL
    AND {{approved}}
    AND reconciled.payload IS NOT NULL
    AND reconciled.status IN ({{statuses}})
    AND (reconciled.status = 'changed') = (planned.action = 'change')
ORDER BY planned._entity, planned._day, planned.source_id
