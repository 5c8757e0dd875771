-- A row is a key that a delete scan found gone: for one entity, or (null) everywhere. What was read
-- before counts no more.
CREATE OR REPLACE TEMP TABLE gone AS
SELECT
    key,
    CASE WHEN NOT everywhere THEN entity END AS entity,
    max({'read_at': found_at, 'load_id': load_id}) AS since
FROM warehouse.meta.tombstones
WHERE object = {{object}} AND revived_at IS NULL AND {{of_keys}}
GROUP BY ALL
