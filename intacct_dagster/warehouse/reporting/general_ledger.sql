-- A row is a line of a journal entry that is in the books, with its entry, journal and account. A
-- line whose entry is not in the warehouse is a row too: money is not left out in silence.
CREATE OR REPLACE VIEW warehouse.intacct.general_ledger AS
SELECT
    coalesce(line.entity_id, entry.entity_id) AS entity_id,
    coalesce(entry.posting_date, line.entry_date) AS posting_date,
    CAST(date_trunc('month', coalesce(entry.posting_date, line.entry_date)) AS DATE) AS month,
    entry.gl_journal_id AS journal_id,
    coalesce(journal.name, entry.gl_journal_name) AS journal_name,
    line.journal_entry_key AS entry_key,
    entry.txn_number AS entry_number,
    entry.reference_number,
    entry.description AS entry_description,
    entry.state AS entry_state,
    line.key AS line_key,
    line.line_number,
    line.gl_account_id AS account_id,
    coalesce(account.name, line.gl_account_name) AS account_name,
    account.account_type,
    account.category AS account_category,
    account.normal_balance,
    line.dimensions_department_id AS department_id,
    line.dimensions_location_id AS location_id,
    line.description AS line_description,
    line.currency_base_currency AS currency,
    CASE line.txn_type WHEN 'debit' THEN line.base_amount ELSE 0 END AS debit,
    CASE line.txn_type WHEN 'credit' THEN line.base_amount ELSE 0 END AS credit,
    CASE line.txn_type WHEN 'debit' THEN line.base_amount ELSE -line.base_amount END AS amount,
    line.currency_txn_currency AS txn_currency,
    CASE line.txn_type WHEN 'debit' THEN line.txn_amount ELSE -line.txn_amount END AS txn_amount
FROM intacct.general_ledger_journal_entry_line AS line
LEFT JOIN intacct.general_ledger_journal_entry AS entry ON entry.key = line.journal_entry_key
LEFT JOIN intacct.general_ledger_journal AS journal ON journal.key = entry.gl_journal_key
LEFT JOIN intacct.general_ledger_account AS account ON account.key = line.gl_account_key
WHERE
    coalesce(entry.state, 'posted') NOT IN (
        'draft', 'submitted', 'partiallyApproved', 'approved', 'declined'
    )
