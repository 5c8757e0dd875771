-- A row is a journal entry in the books that changed in one of the partitions, or a line of which did:
-- what its lines add up to, as far as the warehouse has them.
CREATE OR REPLACE TABLE memory.main.entries AS
WITH touched AS (
    SELECT entry._entity AS entity, entry._day AS day, entry.key
    FROM intacct.general_ledger_journal_entry AS entry
    SEMI JOIN memory.main.partitions AS asked ON asked.entity = entry._entity AND asked.day = entry._day
    WHERE entry._entity IN (SELECT entity FROM memory.main.partitions)
    UNION
    SELECT line._entity, line._day, line.journal_entry_key
    FROM intacct.general_ledger_journal_entry_line AS line
    SEMI JOIN memory.main.partitions AS asked ON asked.entity = line._entity AND asked.day = line._day
    WHERE line._entity IN (SELECT entity FROM memory.main.partitions)
),

lines AS (
    SELECT
        journal_entry_key AS key,
        count(*) AS lines,
        sum(CASE txn_type WHEN 'debit' THEN base_amount ELSE 0 END) AS debit,
        sum(CASE txn_type WHEN 'debit' THEN 0 ELSE base_amount END) AS credit
    FROM intacct.general_ledger_journal_entry_line
    SEMI JOIN touched ON touched.key = journal_entry_key
    WHERE _entity IN (SELECT entity FROM memory.main.partitions)
    GROUP BY journal_entry_key
),

entry AS (
    SELECT *
    FROM intacct.general_ledger_journal_entry
    WHERE _entity IN (SELECT entity FROM memory.main.partitions)
)

SELECT
    touched.entity,
    touched.day,
    touched.key,
    entry.key IS NULL AS is_missing,
    coalesce(entry.entity_id, touched.entity) AS books,
    entry.posting_date,
    entry.reference_number,
    coalesce(lines.lines, 0) AS lines,
    coalesce(lines.debit, 0) AS debit,
    coalesce(lines.credit, 0) AS credit
FROM touched
LEFT JOIN entry ON entry.key = touched.key
LEFT JOIN lines ON lines.key = touched.key
WHERE
    coalesce(entry.state, 'posted') NOT IN (
        'draft', 'submitted', 'partiallyApproved', 'approved', 'declined'
    )
