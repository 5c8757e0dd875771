-- A row is a record that the entity's readings had and this one has not, nor any other entity that
-- was not read since.
INSERT INTO warehouse.meta.tombstones BY NAME
SELECT
    CAST($object AS VARCHAR) AS object,
    CAST($entity AS VARCHAR) AS entity,
    known.{{key}} AS key,
    CAST($found_at AS TIMESTAMP WITH TIME ZONE) AS found_at,
    CAST($run_id AS VARCHAR) AS run_id,
    CAST($load_id AS BIGINT) AS load_id,
    false AS everywhere
FROM temp.main.known AS known
ANTI JOIN temp.main.fresh AS fresh ON fresh.{{key}} = known.{{key}}
WHERE NOT list_contains($kept::VARCHAR[], known.{{key}})
