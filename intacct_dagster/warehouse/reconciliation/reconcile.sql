-- A row is one occurrence of a source document, with its one status:
--   invalid               it may not be posted: its lines are in quarantine, contradict each other …
--   duplicate             it came before, equal, and only the first occurrence counts
--   duplicate_in_intacct  several records in Intacct carry its id
--   cancelled             it was posted from here, and its source has it no longer
--   different             Intacct has it, and it is not equal in what is compared; or it was posted
--                         from here, and the source would send something else now, or for another
--                         entity
--   changed               it was posted from here, and the source has it otherwise now; the feed says
--                         that its record is to be changed
--   matched               Intacct has it, equal in what is compared
--   posted                the ledger says so, and Intacct's copy here is older than that
--   uncertain             it was sent and nobody knows yet
--   rejected              Intacct rejected it, and it has not changed since
--   missing               Intacct does not have it: to be posted
CREATE TABLE memory.main.reconciled AS
SELECT
    matched._entity,
    matched._day,
    matched.source_id,
    matched.number,
    matched.party,
    matched.occurrence,
    CASE
        WHEN matched.invalid IS NOT NULL THEN 'invalid'
        WHEN matched.occurrence > 1 THEN 'duplicate'
        WHEN matched.matches > 1 THEN 'duplicate_in_intacct'
        WHEN
            $changes
            AND matched.state = 'posted'
            AND matched.posted_hash <> payloads.payload_hash
            AND matched.rejected_hash IS DISTINCT FROM payloads.payload_hash
            AND (changed.source_id IS NOT NULL OR matched.differences <> '{}')
            THEN 'changed'
        WHEN changed.source_id IS NOT NULL THEN 'different'
        WHEN matched.matches = 0 AND matched.elsewhere IS NOT NULL THEN 'different'
        WHEN matched.matches = 1 AND matched.differences = '{}' THEN 'matched'
        WHEN matched.state = 'posted' AND matched.ahead AND matched.posted_hash = payloads.payload_hash
            THEN 'posted'
        WHEN matched.matches = 1 THEN 'different'
        WHEN matched.state = 'posted' THEN 'posted'
        WHEN matched.state IN ('sending', 'uncertain') THEN 'uncertain'
        WHEN matched.state = 'rejected' AND matched.posted_hash = payloads.payload_hash
            THEN 'rejected'
        ELSE 'missing'
    END AS status,
    CASE status
        WHEN 'invalid' THEN matched.invalid
        WHEN 'duplicate' THEN 'the same document came before, in this file or an earlier one'
        WHEN 'duplicate_in_intacct'
            THEN concat(
                matched.matches, ' records in Intacct carry this id: keys ', matched.keys,
                '; ' || coalesce('posted from here is ' || matched.ledger_key, 'none was posted from here')
            )
        WHEN 'changed'
            THEN concat_ws(
                ': ',
                'the source changed after it was posted',
                nullif(array_to_string(json_keys(changed.differences), ', '), '')
            )
        WHEN 'different'
            THEN concat_ws(
                '; ',
                CASE
                    WHEN matched.rejected_hash = payloads.payload_hash THEN matched.change_reason
                END,
                'differs in ' || nullif(array_to_string(json_keys(matched.differences), ', '), ''),
                CASE
                    WHEN changed.source_id IS NOT NULL
                        THEN concat_ws(
                            ': ',
                            'the source changed after it was posted',
                            nullif(array_to_string(json_keys(changed.differences), ', '), '')
                        )
                    WHEN matched.matches = 0
                        THEN concat(
                            'it was sent for ', matched.elsewhere, ' before; the source has it in ',
                            matched._entity, ' now'
                        )
                END
            )
        WHEN 'uncertain' THEN coalesce(matched.ledger_reason, 'it was sent and no answer is known')
        WHEN 'rejected' THEN matched.ledger_reason
    END AS reason,
    -- both are objects, and have no field in common
    nullif(
        concat(
            '{',
            concat_ws(
                ',',
                nullif(CAST(matched.differences AS VARCHAR)[2:-2], ''),
                nullif(changed.differences[2:-2], '')
            ),
            '}'
        ),
        '{}'
    ) AS differences,
    matched.intacct_key,
    matched.amount,
    matched.file,
    matched.line,
    matched.lines,
    CASE
        WHEN status = 'changed' OR (matched.matches = 0 AND status <> 'different')
            THEN payloads.payload
    END AS payload,
    CASE WHEN payload IS NOT NULL THEN payloads.payload_hash END AS payload_hash,
    CAST($run_id AS VARCHAR) AS run_id,
    CAST($at AS TIMESTAMP WITH TIME ZONE) AS reconciled_at
FROM memory.main.matched
LEFT JOIN memory.main.payloads
    ON payloads.entity = matched._entity
    AND payloads.day = matched._day
    AND payloads.source_id = matched.source_id
    AND payloads.occurrence = matched.occurrence
LEFT JOIN memory.main.changed
    ON changed.entity = matched._entity
    AND changed.source_id = matched.source_id
    AND matched.occurrence = 1
UNION ALL BY NAME
SELECT
    gone.entity AS _entity,
    gone.day AS _day,
    gone.source_id,
    coalesce(gone.number, gone.source_id) AS number,
    1 AS occurrence,
    'cancelled' AS status,
    concat('it was posted as record ', gone.intacct_key, ', and its source has it no longer') AS reason,
    gone.intacct_key,
    coalesce(gone.amount, 0) AS amount,
    0 AS lines,
    CAST($run_id AS VARCHAR) AS run_id,
    CAST($at AS TIMESTAMP WITH TIME ZONE) AS reconciled_at
FROM memory.main.gone
SEMI JOIN memory.main.partitions USING (entity, day)
WHERE gone.state = 'posted'
ORDER BY _entity, _day, source_id, occurrence
