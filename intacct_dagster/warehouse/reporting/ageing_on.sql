-- A row is a {{party}} of an entity: what is open on the day, by how long it is overdue.
CREATE OR REPLACE MACRO warehouse.intacct.{{which}}_ageing_on(as_of) AS TABLE
SELECT
    entity_id,
    {{party}}_id,
    any_value({{party}}_name) AS {{party}}_name,
    currency,
    count(*) AS {{document}}s,
    sum(CASE bucket WHEN 'not due' THEN due ELSE 0 END) AS not_due,
    sum(CASE bucket WHEN '1-30 days' THEN due ELSE 0 END) AS days_1_30,
    sum(CASE bucket WHEN '31-60 days' THEN due ELSE 0 END) AS days_31_60,
    sum(CASE bucket WHEN '61-90 days' THEN due ELSE 0 END) AS days_61_90,
    sum(CASE bucket WHEN 'over 90 days' THEN due ELSE 0 END) AS over_90_days,
    sum(due) AS due,
    max(days_overdue) AS oldest_days_overdue,
    any_value(CAST(as_of AS DATE)) AS as_of
FROM intacct.{{which}}_open_items_on(as_of)
GROUP BY entity_id, {{party}}_id, currency
