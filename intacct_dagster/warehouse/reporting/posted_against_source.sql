-- A row is a feed's day of an entity: how many documents the source has, and what became of them.
CREATE OR REPLACE VIEW warehouse.intacct.posted_against_source AS
WITH documents AS (
    {{documents}}
)
SELECT
    feed,
    entity_id,
    day,
    count(*) AS documents,
    count(*) FILTER (WHERE outcome = 'posted') AS posted,
    count(*) FILTER (WHERE outcome = 'matched') AS matched,
    count(*) FILTER (WHERE outcome = 'different') AS different,
    count(*) FILTER (WHERE outcome = 'rejected') AS rejected,
    count(*) FILTER (WHERE outcome = 'held') AS held,
    count(*) FILTER (WHERE outcome = 'uncertain') AS uncertain,
    count(*) FILTER (WHERE outcome = 'missing') AS to_post,
    count(*) FILTER (WHERE outcome = 'invalid') AS invalid,
    count(*) FILTER (WHERE outcome IN ('duplicate', 'duplicate_in_intacct')) AS duplicate,
    sum(amount) FILTER (WHERE outcome <> 'duplicate') AS amount,
    coalesce(sum(amount) FILTER (WHERE outcome IN ('posted', 'matched')), 0) AS amount_in_intacct,
    coalesce(
        sum(amount) FILTER (WHERE outcome NOT IN ('posted', 'matched', 'duplicate')), 0
    ) AS amount_open
FROM documents
GROUP BY feed, entity_id, day
