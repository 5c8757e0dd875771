-- A row is an account of an entity on a day on which something was posted to it, with what it adds
-- up to by then.
CREATE OR REPLACE VIEW warehouse.intacct.trial_balance AS
SELECT
    entity_id,
    account_id,
    any_value(account_name) AS account_name,
    any_value(account_type) AS account_type,
    posting_date AS day,
    month,
    currency,
    count(*) AS lines,
    sum(debit) AS debit,
    sum(credit) AS credit,
    sum(amount) AS net,
    sum(sum(amount)) OVER (
        PARTITION BY entity_id, account_id, currency
        ORDER BY posting_date
    ) AS balance
FROM intacct.general_ledger
GROUP BY entity_id, account_id, posting_date, month, currency
