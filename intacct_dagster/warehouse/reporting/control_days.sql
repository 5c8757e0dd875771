-- A row is a posting date of an entity's books on which something was touched, and what all that the
-- warehouse holds of that date adds up to.
CREATE OR REPLACE TABLE memory.main.dates AS
SELECT
    ledger.entity_id AS books,
    ledger.posting_date,
    sum(ledger.amount) AS net
FROM intacct.general_ledger AS ledger
SEMI JOIN memory.main.entries AS entries
    ON entries.books = ledger.entity_id AND entries.posting_date = ledger.posting_date
GROUP BY ledger.entity_id, ledger.posting_date
