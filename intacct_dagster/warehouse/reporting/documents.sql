-- A row is a document of the source, and what became of it: what reconciling found wrong comes first,
-- then what the posting ledger knows, then what a gate says.
SELECT
    {{named}} AS feed,
    reconciled._entity AS entity_id,
    reconciled._day AS day,
    reconciled.amount,
    CASE
        WHEN reconciled.status IN ('different', 'invalid', 'duplicate', 'duplicate_in_intacct')
            THEN reconciled.status
        WHEN reconciled.status = 'changed' THEN 'different'
        WHEN posted.state = 'posted' THEN 'posted'
        WHEN posted.state = 'rejected' THEN 'rejected'
        WHEN posted.state = 'uncertain' THEN 'uncertain'
        -- 0.1.0 stored it so, and a day is reconciled again only when something of it changed
        WHEN reconciled.status = 'refused' THEN 'rejected'
        WHEN reconciled.status = 'missing' AND planned.action = 'held' THEN 'held'
        ELSE reconciled.status
    END AS outcome
FROM reconciled.{{feed}} AS reconciled
LEFT JOIN posting.{{feed}} AS posted
    ON posted._entity = reconciled._entity
    AND posted._day = reconciled._day
    AND posted.source_id = reconciled.source_id
LEFT JOIN plan.{{feed}} AS planned
    ON planned._entity = reconciled._entity
    AND planned._day = reconciled._day
    AND planned.source_id = reconciled.source_id
