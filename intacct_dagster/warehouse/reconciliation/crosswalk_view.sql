-- A row is a source document and the record that stands for it in Intacct: posted from here, or found
-- there by its id. What was posted is taken from the posting ledger, so it shows before Intacct is
-- read again.
CREATE OR REPLACE VIEW crosswalk.{{feed}} AS
SELECT
    _entity AS entity,
    source_id,
    intacct_key,
    'posted' AS how,
    _day AS day,
    amount
FROM posting.{{feed}}
WHERE state = 'posted'
UNION ALL
SELECT
    reconciled._entity AS entity,
    reconciled.source_id,
    reconciled.intacct_key,
    'found' AS how,
    reconciled._day AS day,
    reconciled.amount
FROM reconciled.{{feed}} AS reconciled
ANTI JOIN posting.{{feed}} AS posted
    ON posted._entity = reconciled._entity
    AND posted.source_id = reconciled.source_id
    AND posted.state = 'posted'
WHERE reconciled.intacct_key IS NOT NULL AND reconciled.occurrence = 1
