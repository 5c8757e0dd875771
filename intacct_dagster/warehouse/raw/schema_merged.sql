-- A row is a field that was learnt, of an object that is stored, with the time when it was seen first.
CREATE OR REPLACE TEMP TABLE merged AS
SELECT
    fresh.* REPLACE (
        least(fresh.first_seen_at, coalesce(held.first_seen_at, fresh.first_seen_at)) AS first_seen_at
    )
FROM memory.main.fields AS fresh
LEFT JOIN warehouse.meta.catalogue AS held
    ON held.object = fresh.object AND held.path = fresh.path
WHERE fresh.object IN (SELECT unnest($objects::VARCHAR[]))
