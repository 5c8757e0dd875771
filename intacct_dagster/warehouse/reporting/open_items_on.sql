-- A row is a document that was not paid on the day. What was paid in full after the day counts with
-- all of its amount; of others Intacct tells only what is due now.
CREATE OR REPLACE MACRO warehouse.intacct.{{which}}_open_items_on(as_of) AS TABLE
SELECT
    entity_id,
    {{party}}_id,
    {{party}}_name,
    key AS {{document}}_key,
    {{document}}_number,
    {{dated}} AS {{document}}_date,
    due_date,
    state,
    currency_base_currency AS currency,
    total_base_amount AS amount,
    CASE
        WHEN payment_information_fully_paid_date > CAST(as_of AS DATE) THEN total_base_amount
        ELSE total_base_amount_due
    END AS due,
    greatest(CAST(as_of AS DATE) - coalesce(due_date, {{dated}}), 0) AS days_overdue,
    CASE
        WHEN CAST(as_of AS DATE) <= coalesce(due_date, {{dated}}) THEN 'not due'
        WHEN CAST(as_of AS DATE) - coalesce(due_date, {{dated}}) <= 30 THEN '1-30 days'
        WHEN CAST(as_of AS DATE) - coalesce(due_date, {{dated}}) <= 60 THEN '31-60 days'
        WHEN CAST(as_of AS DATE) - coalesce(due_date, {{dated}}) <= 90 THEN '61-90 days'
        ELSE 'over 90 days'
    END AS bucket,
    CAST(as_of AS DATE) AS as_of
FROM intacct.{{table}}
WHERE
    {{dated}} <= CAST(as_of AS DATE)
    AND state NOT IN ({{not_in_books}})
    AND CASE
        WHEN payment_information_fully_paid_date > CAST(as_of AS DATE) THEN total_base_amount
        ELSE total_base_amount_due
    END <> 0
