-- A row is a document that was posted from here, and would be sent otherwise now.
SELECT matched._entity, matched.source_id, payloads.payload
FROM memory.main.matched
INNER JOIN memory.main.payloads
    ON payloads.entity = matched._entity
    AND payloads.day = matched._day
    AND payloads.source_id = matched.source_id
    AND payloads.occurrence = matched.occurrence
WHERE matched.state = 'posted' AND matched.posted_hash <> payloads.payload_hash
ORDER BY matched._entity, matched.source_id
