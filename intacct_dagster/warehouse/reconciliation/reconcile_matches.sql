-- A row is one occurrence of a source document, with how many records in Intacct carry its id, the
-- one record if it is one, what differs from it, and what the posting ledger knows.
CREATE TABLE memory.main.matched AS
WITH found AS (
    -- a row is a document that Intacct has: a record of the entity, or one that entities share
    SELECT
        documents._entity,
        documents.source_id,
        count(DISTINCT intacct.key) AS matches,
        string_agg(DISTINCT intacct.key, ', ' ORDER BY intacct.key) AS keys
    FROM (
        SELECT DISTINCT _entity, source_id, number, party FROM memory.main.documents
    ) AS documents
    INNER JOIN memory.main.intacct
        ON intacct.match_on = documents.number
        AND (documents.party IS NULL OR intacct.party IS NULL OR intacct.party = documents.party)
        AND coalesce(nullif(intacct.entity_id, ''), documents._entity) = documents._entity
    GROUP BY documents._entity, documents.source_id
)

SELECT
    documents.* EXCLUDE (compared),
    coalesce(found.matches, 0) AS matches,
    found.keys,
    intacct.key AS intacct_key,
    -- {"field": {"source": …, "intacct": …}} for each compared field that is not equal
    CASE WHEN intacct.key IS NOT NULL THEN {{differences}} END AS differences,
    ledger.state,
    ledger.intacct_key AS ledger_key,
    ledger.payload_hash AS posted_hash,
    ledger.reason AS ledger_reason,
    ledger.ahead,
    ledger.rejected_hash,
    ledger.change_reason,
    -- another entity for which it was sent, may have arrived, and has it no longer in the source
    (
        SELECT min(other.entity)
        FROM memory.main.gone AS other
        WHERE other.source_id = documents.source_id
            AND other.entity <> documents._entity
            AND coalesce(ledger.state, '') NOT IN ('posted', 'sending', 'uncertain')
    ) AS elsewhere
FROM memory.main.documents
LEFT JOIN found
    ON found._entity = documents._entity AND found.source_id = documents.source_id
LEFT JOIN memory.main.intacct ON found.matches = 1 AND intacct.key = found.keys
LEFT JOIN memory.main.ledger
    ON ledger.entity = documents._entity AND ledger.source_id = documents.source_id
