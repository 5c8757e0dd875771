-- A row is a document that was to be posted, or that the posting ledger has on one of these days though
-- its source has it no longer, and what became of it. `state` is the ledger's, null if it is not there;
-- `aside` says why it was not to be sent at all.
CREATE TABLE memory.main.outcomes AS
WITH aside AS (
    SELECT
        planned._entity,
        planned._day,
        planned.source_id,
        CASE
            WHEN planned.gate IS NOT NULL THEN $held
            WHEN $dry_run IS NOT NULL THEN $dry_run
            WHEN $waiting IS NOT NULL AND approved.plan IS NULL THEN $waiting
        END AS why
    FROM memory.main.planned
    LEFT JOIN memory.main.approved
        ON approved.entity = planned._entity
        AND approved.day = planned._day
        AND approved.plan = planned.plan
)

SELECT
    reconciled._entity,
    reconciled._day,
    reconciled.source_id,
    reconciled.amount,
    reconciled.file,
    reconciled.line,
    aside.why AS aside,
    ledger.amount AS amount_in_ledger,
    ledger.* EXCLUDE (entity, source_id, day, amount)
FROM memory.main.reconciled
LEFT JOIN memory.main.ledger
    ON ledger.entity = reconciled._entity AND ledger.source_id = reconciled.source_id
LEFT JOIN aside
    ON aside._entity = reconciled._entity
    AND aside._day = reconciled._day
    AND aside.source_id = reconciled.source_id
WHERE ledger.source_id IS NOT NULL OR list_contains($statuses::VARCHAR[], reconciled.status)
UNION ALL BY NAME
SELECT
    ledger.entity AS _entity,
    ledger.day AS _day,
    ledger.source_id,
    ledger.amount,
    ledger.amount AS amount_in_ledger,
    ledger.* EXCLUDE (entity, source_id, day, amount)
FROM memory.main.ledger
SEMI JOIN memory.main.partitions USING (entity, day)
ANTI JOIN memory.main.reconciled
    ON reconciled._entity = ledger.entity AND reconciled.source_id = ledger.source_id
