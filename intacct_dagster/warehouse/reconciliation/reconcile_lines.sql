-- A row is a line of a source document in one of the partitions that are reconciled.
CREATE TABLE memory.main.feed_lines AS
SELECT
    {{columns}},
    {{document}} AS _document
FROM {{feed}} AS feed
INNER JOIN memory.main.partitions
    ON partitions.entity = feed._entity AND partitions.day = feed._day;

-- A row is a document that the ledger may have accepted and that its source has no longer: not for this
-- entity, on whichever day.
CREATE TABLE memory.main.gone AS
SELECT ledger.*
FROM memory.main.ledger
ANTI JOIN (SELECT DISTINCT _entity AS entity, {{document}} AS source_id FROM {{feed}} AS feed) AS present
    USING (entity, source_id)
WHERE ledger.state IN ('posted', 'sending', 'uncertain')
