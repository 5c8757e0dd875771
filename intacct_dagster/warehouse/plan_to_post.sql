-- A row is a document that may be posted now: the plan has it as it was reconciled last, no gate holds it,
-- and its partition's plan is approved where that is asked for.
SELECT
    planned._entity,
    planned._day,
    planned.source_id,
    reconciled.amount,
    reconciled.payload
FROM {{plan}} AS planned
INNER JOIN memory.main.partitions
    ON partitions.entity = planned._entity AND partitions.day = planned._day
INNER JOIN {{reconciled}} AS reconciled
    ON reconciled._entity = planned._entity
    AND reconciled._day = planned._day
    AND reconciled.source_id = planned.source_id
    AND reconciled.payload_hash = planned.payload_hash
WHERE planned.gate IS NULL
    AND {{approved}}
    AND reconciled.payload IS NOT NULL
    AND reconciled.status IN ({{statuses}})
ORDER BY planned._entity, planned._day, planned.source_id
