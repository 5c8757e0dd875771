-- A row is a source document and the record that stands for it in Intacct: posted from here, or found
-- there by its number. What was posted is taken from the posting ledger, so it shows before Intacct is
-- read again.
CREATE OR REPLACE VIEW crosswalk.{{feed}} AS
SELECT
    posted._entity AS entity,
    posted.source_id,
    coalesce({{number}}, posted.source_id) AS number,
    {{party}} AS party,
    posted.intacct_key,
    'posted' AS how,
    posted._day AS day,
    posted.amount
FROM posting.{{feed}} AS posted
LEFT JOIN reconciled.{{feed}} AS reconciled
    ON reconciled._entity = posted._entity
    AND reconciled._day = posted._day
    AND reconciled.source_id = posted.source_id
    AND reconciled.occurrence = 1
WHERE posted.state = 'posted'
UNION ALL
SELECT
    reconciled._entity AS entity,
    reconciled.source_id,
    coalesce({{number}}, reconciled.source_id) AS number,
    {{party}} AS party,
    reconciled.intacct_key,
    'found' AS how,
    reconciled._day AS day,
    reconciled.amount
FROM reconciled.{{feed}} AS reconciled
ANTI JOIN posting.{{feed}} AS posted
    ON posted._entity = reconciled._entity
    AND posted.source_id = reconciled.source_id
    AND posted.state = 'posted'
WHERE
    reconciled.intacct_key IS NOT NULL
    AND reconciled.occurrence = 1
    AND reconciled.status <> 'cancelled'
