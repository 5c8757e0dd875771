-- A row is an account of an entity: all that was posted to it up to the day.
CREATE OR REPLACE MACRO warehouse.intacct.trial_balance_on(as_of) AS TABLE
SELECT
    entity_id,
    account_id,
    any_value(account_name) AS account_name,
    any_value(account_type) AS account_type,
    any_value(CAST(as_of AS DATE)) AS as_of,
    currency,
    count(*) AS lines,
    sum(debit) AS debit,
    sum(credit) AS credit,
    sum(amount) AS balance
FROM intacct.general_ledger
WHERE posting_date <= CAST(as_of AS DATE)
GROUP BY entity_id, account_id, currency
