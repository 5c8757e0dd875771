-- A row is a record that an entity's last reading did not bring, and an older one had.
INSERT INTO warehouse.meta.tombstones BY NAME
WITH last_reading AS (
    SELECT _entity, max(_read_at) AS read_at
    FROM {{raw}}
    GROUP BY _entity
)

SELECT
    CAST($object AS VARCHAR) AS object,
    read._entity AS entity,
    read.{{unit}} AS key,
    any_value(last_reading.read_at) AS found_at,
    any_value(read._run_id) AS run_id,
    0 AS load_id,
    false AS everywhere
FROM {{raw}} AS read
INNER JOIN last_reading ON last_reading._entity = read._entity
GROUP BY read._entity, read.{{unit}}
HAVING max(read._read_at) < any_value(last_reading.read_at)
