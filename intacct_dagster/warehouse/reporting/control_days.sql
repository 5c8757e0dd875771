-- A row is a posting date of an entity's books on which something was touched, and what all that the
-- warehouse holds of that date adds up to. Only rows of these entities are looked at.
CREATE OR REPLACE TABLE memory.main.dates AS
WITH wanted AS (
    SELECT DISTINCT books, posting_date
    FROM memory.main.entries
    WHERE posting_date IS NOT NULL
),

entry AS (
    SELECT key, entity_id, posting_date, state
    FROM intacct.general_ledger_journal_entry
    WHERE _entity IN (SELECT books FROM wanted)
),

line AS (
    SELECT
        coalesce(read.entity_id, entry.entity_id) AS books,
        coalesce(entry.posting_date, read.entry_date) AS posting_date,
        CASE read.txn_type WHEN 'debit' THEN read.base_amount ELSE -read.base_amount END AS amount
    FROM intacct.general_ledger_journal_entry_line AS read
    LEFT JOIN entry ON entry.key = read.journal_entry_key
    WHERE
        read._entity IN (SELECT books FROM wanted)
        AND coalesce(entry.state, 'posted') NOT IN (
            'draft', 'submitted', 'partiallyApproved', 'approved', 'declined'
        )
)

SELECT line.books, line.posting_date, sum(line.amount) AS net
FROM line
SEMI JOIN wanted ON wanted.books = line.books AND wanted.posting_date = line.posting_date
GROUP BY line.books, line.posting_date
